package main

// mutantsOfMessages are defects of how messages move.
var mutantsOfMessages = []mutant{
	{"published-before-filled", "an SPSC record is published before it is written", []edit{
		{"ring/own.go",
			"\tcopy(p.bytes(pos, len(msg)), msg)\n\tkillpoint.At(killpoint.PayloadWritten)\n\tp.label(pos, meta)\n\tp.store(1, layout.Committed)\n",
			"\tp.store(1, layout.Committed)\n\tcopy(p.bytes(pos, len(msg)), msg)\n\tkillpoint.At(killpoint.PayloadWritten)\n\tp.label(pos, meta)\n"},
	}, in("points step")},
	{"committed-before-filled", "an MPSC record is published before it is written", []edit{
		{"ring/shared.go",
			"\tp.fill(pos, msg, meta)\n\treturn p.finish(pos, k, layout.Committed)\n",
			"\terr = p.finish(pos, k, layout.Committed)\n\tp.fill(pos, msg, meta)\n\treturn err\n"},
	}, in("points step")},
	{"claims-without-help", "a claim is made over one that is not on record", []edit{
		{"ring/shared.go",
			"p.saw(p.record(w))\n\t\t\t\tcontinue",
			"_ = prev"},
	}, in("takeover hole step points")},
	{"padding-not-skipped", "MPSC padding is claimed and not finished", []edit{
		{"ring/shared.go",
			"p.renew(pos, need)\n\t\tif !pad {",
			"p.renew(pos, need)\n\t\tif !pad || pad {"},
	}, in("hole step points")},
	{"one-slot-too-many", "a full SPSC ring takes one slot more", []edit{
		{"ring/own.go",
			"if p.pos+need-read > p.slots {\n\t\t\t\treturn 0, ErrFull",
			"if p.pos+need-read > p.slots+1 {\n\t\t\t\treturn 0, ErrFull"},
	}, in("random points")},
	{"never-rings", "a publisher does not look at the bell", []edit{
		{"ring/bell.go",
			"\tif c.ringWord.Load()&layout.BellSleeping != 0 {\n",
			"\tif c.ringWord.Load() == 0xfffffffe {\n"},
	}, in("step")},
	{"passes-open-claims", "the consumer takes a claim for a message", []edit{
		{"ring/next.go",
			"if !v.IsFinished(layout.LapOf(h, c.shift)) {\n\t\t\treturn c.nothing()",
			"if !v.IsRecorded(layout.LapOf(h, c.shift)) {\n\t\t\treturn c.nothing()"},
	}, in("stop pidns")},
	{"released-unhandled", "Drain releases a message before the handler has it", []edit{
		{"ring/drain.go",
			"\t\tc.handOver(&m)\n\t\tc.leave()\n",
			"\t\tc.handOver(&m)\n\t\tc.take(&m)\n\t\tc.auto = m.end\n\t\tc.owed = m.end\n\t\tc.settle()\n\t\tc.leave()\n"},
		{"ring/drain.go",
			"\t\tc.take(&m)\n\t\tc.auto = m.end\n\t\tif !c.leased {\n\t\t\tc.handle(m.end)\n\t\t}\n\t\tn++",
			"\t\tn++"},
	}, in("random points")},
	{"not-redelivered", "what comes again is not marked", []edit{
		{"ring/next.go",
			"func (c *Consumer) seenBefore(pos uint64) bool { return c.seenTo-pos-1 < c.slots }",
			"func (c *Consumer) seenBefore(pos uint64) bool { return false && c.seenTo-pos-1 < c.slots }"},
	}, in("random takeover step points")},
	{"marked-late", "what may have been seen is written down by Halt only", []edit{
		{"ring/next.go",
			"int64(end-c.marked) > 0 && forUser",
			"int64(end-c.marked) > 1<<40 && forUser"},
	}, in("random takeover step")},
}
