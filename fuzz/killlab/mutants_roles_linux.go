package main

// mutantsOfRoles are defects of how rings and roles are taken.
var mutantsOfRoles = []mutant{
	{"producer-starts-at-read", "the successor of an SPSC producer writes over what the consumer has not read", []edit{
		{"ring/producer.go",
			"if p.pos, err = p.walk(read); err != nil {",
			"if p.pos = read; err != nil {"},
	}, in("takeover+ step points")},
	{"consumer-starts-at-end", "a new consumer begins behind what is in the ring", []edit{
		{"ring/consumer.go",
			"c.pos = c.hot.ReadPos.Load()",
			"c.pos = c.hot.ReadPos.Load() + uint64(c.Used())"},
	}, in("takeover random")},
	{"role-without-lock", "a role is taken though its lock is held", []edit{
		{"ring/member.go",
			"if !ok {\n\t\treturn Attachment{}, busy",
			"if false && !ok {\n\t\treturn Attachment{}, busy"},
	}, in("takeover")},
	{"takeover-unsaid", "the successor of a dead participant is not told", []edit{
		{"ring/member.go",
			"TookOver: died || state == layout.Draining}, nil",
			"TookOver: false && died}, nil"},
	}, in("takeover")},
	{"takeover-always-said", "every successor is told that its predecessor died", []edit{
		{"ring/member.go",
			"TookOver: died || state == layout.Draining}, nil",
			"TookOver: died || epoch > 1}, nil"},
	}, in("takeover")},
	{"slot-not-buried", "a newcomer does not bury the one whose slot it takes", []edit{
		{"ring/member.go",
			"\t\tc.bury(i) // who dies",
			"\t\t_ = died // who dies"},
	}, in("takeover+")},
	{"never-recovered", "nobody is told that all others are dead", []edit{
		{"open.go",
			"s.info.Recovered = anyDead && !anyAlive",
			"s.info.Recovered = false && anyDead && !anyAlive"},
	}, in("takeover")},
	{"busy-names-nobody", "a refusal does not name the holder", []edit{
		{"ring/member.go",
			"busy := &BusyError{Role: role, PID: int(m.PID.Load()), Slots: 1}",
			"busy := &BusyError{Role: role, Slots: 1}"},
	}, in("takeover")},
	{"remove-any-file", "Remove unlinks the name though it means another file by now", []edit{
		{"shm/remove_linux.go",
			"if err := stillNamed(\"remove\", path, fd); err != nil {",
			"if err := stillNamed(\"remove\", path, fd); err != nil && err != errReplaced {"},
	}, in("storm+")},
	{"remove-in-use", "Remove ignores the admin lock", []edit{
		{"shm/remove_linux.go",
			"if !alone {",
			"if false && !alone {"},
	}, in("storm")},
	{"open-without-recheck", "Open does not look whether the name still means the file that it has locked", []edit{
		{"shm/open_linux.go",
			"if err := stillNamed(\"open\", path, fd); err != nil {",
			"if err := stillNamed(\"open\", path, fd); err != nil && err != errReplaced {"},
	}, in("storm")},
	{"publish-before-format", "a ring has its name before it has its contents", []edit{
		{"shm/create_linux.go",
			"\tif o.format != nil {",
			"\tif err := d.publish(ctx, o.mode); err != nil {\n\t\treturn nil, err\n\t}\n\tif o.format != nil {"},
		{"shm/create_linux.go",
			"\tif err := d.publish(ctx, o.mode); err != nil { // 6, 7, 8\n\t\treturn nil, err\n\t}\n",
			""},
	}, in("storm points")},
	{"create-replaces", "Create renames its file over one that exists", []edit{
		{"shm/create_linux.go",
			"s, err := o.make(ctx, draftUnnamed)",
			"s, err := o.make(ctx, draftHidden)"},
		{"shm/draft_linux.go",
			"unix.AT_FDCWD, d.path, unix.RENAME_NOREPLACE)",
			"unix.AT_FDCWD, d.path, 0)"},
	}, in("storm")},
	{"published-unlocked", "a new ring has its name before its creator is attached to it", []edit{
		{"shm/draft_linux.go",
			"\tif err := shareAdmin(ctx, d.fd, d.path); err != nil {\n\t\treturn err\n\t}\n\tkillpoint.At(killpoint.UnpublishedLocked)\n",
			""},
		{"shm/draft_linux.go",
			"\tkillpoint.At(killpoint.Published)\n\treturn err\n",
			"\tkillpoint.At(killpoint.Published)\n\tif err != nil {\n\t\treturn err\n\t}\n\treturn shareAdmin(ctx, d.fd, d.path)\n"},
	}, in("storm")},
}
