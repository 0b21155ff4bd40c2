package main

// mutantsOfDeath are defects of what happens when somebody dies.
var mutantsOfDeath = []mutant{
	{"pid-instead-of-lock", "whoever's pid exists is alive", []edit{
		{"shm/ofd_linux.go",
			"return setLock(o.f.fd, unix.F_WRLCK, lifeBase+int64(i))",
			"m := o.f.mem.bytes()[768+256*i:]\n\tif pid := int(m[12]) | int(m[13])<<8 | int(m[14])<<16; m[0] == 1 && unix.Kill(pid, 0) == nil {\n\t\treturn false, nil\n\t}\n\treturn setLock(o.f.fd, unix.F_WRLCK, lifeBase+int64(i))"},
	}, in("pidreuse pidns zombie")},
	{"stopped-is-dead", "a stopped process counts as dead", []edit{
		{"shm/ofd_linux.go",
			"return setLock(o.f.fd, unix.F_WRLCK, lifeBase+int64(i))",
			`m := o.f.mem.bytes()[768+256*i:]
	pid := int(m[12]) | int(m[13])<<8 | int(m[14])<<16
	if fd, err := unix.Open(fmt.Sprintf("/proc/%d/stat", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		var name, state string
		b := make([]byte, 64)
		_, _ = unix.Read(fd, b)
		_ = unix.Close(fd)
		_, _ = fmt.Sscan(string(b), &pid, &name, &state)
		if state == "T" || state == "t" {
			return true, nil
		}
	}
	return setLock(o.f.fd, unix.F_WRLCK, lifeBase+int64(i))`},
	}, in("stop")},
	{"dead-without-lock", "a claim is skipped though its owner's lock is held", []edit{
		{"ring/member.go",
			"if !ok {\n\t\treturn false, nil\n\t}",
			"if !ok {\n\t\treturn true, nil\n\t}"},
	}, in("stop pidns step")},
	{"any-lock", "a lock that is held is reported as taken", []edit{
		{"shm/ofd_linux.go",
			"case unix.EAGAIN, unix.EACCES:\n\t\treturn false, nil",
			"case unix.EAGAIN, unix.EACCES:\n\t\treturn at >= lifeBase+1, nil"},
	}, in("stop pidns")},
	{"slow-is-dead", "now and then a slow owner counts as dead", []edit{
		{"ring/upkeep.go",
			"if !gone {",
			"if !gone && c.counters(int(c.me)).Sleeps%64 != 63 {"},
	}, in("stop pidns")},
	{"never-dead", "nobody is ever found dead", []edit{
		{"ring/member.go",
			"// Free may be a newcomer between its lock and its state.",
			"if i >= 0 {\n\t\treturn false, nil\n\t}"},
	}, in("hole pidreuse pidns zombie points")},
	{"alive-by-state", "whoever has not left is alive", []edit{
		{"ring/member.go",
			"// Free may be a newcomer between its lock and its state.",
			"if layout.ParticipantState(m.State.Load()) == layout.Used {\n\t\treturn false, nil\n\t}"},
	}, in("hole pidreuse pidns zombie")},
	{"no-quarantine", "the slot of a dead producer is given away while its claims are in the ring", []edit{
		{"ring/member.go",
			"return role == layout.RoleProducer && c.shared &&",
			"return false && role == layout.RoleProducer && c.shared &&"},
	}, in("hole pidreuse step takeover+")},
	{"short-quarantine", "the quarantine ends at the consumer's position", []edit{
		{"ring/member.go",
			"drain := layout.Tail(c.hot.Tail.Load()).Pos(read)",
			"drain := read"},
	}, in("hole pidreuse")},
	{"newest-not-recorded", "the consumer does not put the newest claim on record", []edit{
		{"ring/upkeep.go",
			"c.record(w)",
			"return v, false, nil"},
	}, in("hole points")},
	{"cap-for-ever", "a sleep may last for ever", []edit{
		{"ring/ring.go",
			"const DefaultFirstSleep = 10 * time.Millisecond",
			"const DefaultFirstSleep = 10 * time.Hour"},
	}, in("hole zombie")},
	{"stalled-cap-for-ever", "and so in front of an unfinished claim", []edit{
		{"ring/upkeep.go",
			"const stalledCap = time.Millisecond",
			"const stalledCap = time.Hour"},
	}, in("hole")},
	{"skip-counted-twice", "a skip counts double", []edit{
		{"ring/upkeep.go",
			"c.count(layout.Skipped, 1)",
			"c.count(layout.Skipped, 2)"},
	}, in("hole pidns")},
	{"skip-names-slot", "a skip is told with the wrong pid", []edit{
		{"ring/upkeep.go",
			"PID: int(c.members[owner].PID.Load())",
			"PID: owner"},
	}, in("hole")},
	{"spsc-death-before-data", "a death is told before what the dead one had sent", []edit{
		{"ring/upkeep.go",
			"if c.batch.rest != nil || c.ready() {\n\t\treturn nil",
			"if c.batch.rest != nil {\n\t\treturn nil"},
	}, in("hole")},
	{"no-cloexec", "children inherit descriptors, and with them locks", []edit{
		{"shm/sys_linux.go",
			"sys.open(path, flags|unix.O_CLOEXEC, perm)",
			"sys.open(path, flags, perm)"},
		{"shm/sys_linux.go",
			"sys.openat(dir, name, flags|unix.O_CLOEXEC, perm)",
			"sys.openat(dir, name, flags, perm)"},
	}, in("zombie")},
}
