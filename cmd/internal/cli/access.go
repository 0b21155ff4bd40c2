package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// registerAccess adds the flags that say who may use a ring.
func (r *Ring) registerAccess(f *Flags) {
	o := &r.Options
	f.Func("perm", func(text string) error {
		mode, err := strconv.ParseUint(text, 8, 32)
		if err != nil || mode == 0 || mode > 0o777 {
			return errors.New("want permission bits in octal, as 600 or 660")
		}
		o.Perm = fs.FileMode(mode)
		return nil
	})
	f.Func("group", func(text string) (err error) {
		o.Group, err = groupID(text, "/etc/group")
		return err
	})
	f.Bool(&o.AnyOwner, "any-owner")
}

// groupID is the number of a group. The file is read by ourselves: the system's library would have to be
// linked for more.
func groupID(text, file string) (int, error) {
	if n, err := strconv.Atoi(text); err == nil {
		if n <= 0 {
			return 0, errors.New("want a group other than 0")
		}
		return n, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Split(line, ":"); len(fields) > 2 && fields[0] == text {
			return groupID(fields[2], "")
		}
	}
	return 0, fmt.Errorf("no group of that name is in %s: give its number", file)
}
