package shm

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// DefaultDir is where segments live unless Options.Dir or EnvDir says otherwise.
	DefaultDir = "/dev/shm"
	// EnvDir is the environment variable that replaces DefaultDir.
	EnvDir = "SHMRING_DIR"
	// Suffix ends the file name of every segment.
	Suffix = ".shmring"
	// MaxName is the length in bytes of the longest valid name. With the suffix, or
	// as a hidden temporary name, it stays below the 255 bytes of a file name.
	MaxName = 200
)

// NameError tells why a segment name was refused. errors.Is(err, fs.ErrInvalid) holds.
type NameError struct {
	Name   string
	Reason string
}

// Error quotes the name, shortened to 40 characters, and the reason.
func (e *NameError) Error() string { return fmt.Sprintf("shm: name %.40q: %s", e.Name, e.Reason) }

// Unwrap returns fs.ErrInvalid.
func (e *NameError) Unwrap() error { return fs.ErrInvalid }

// ValidateName returns a [*NameError] unless name is 1 to [MaxName] bytes of
// A-Z a-z 0-9 . _ - and does not start with a dot. A valid name has no path
// separator and is neither "." nor "..", so it cannot leave the directory, and it
// never looks like the hidden name of a segment that is still being made.
func ValidateName(name string) error {
	switch {
	case name == "":
		return &NameError{name, "empty: want 1 to 200 of A-Z a-z 0-9 . _ -"}
	case len(name) > MaxName:
		return &NameError{name, fmt.Sprintf("%d bytes long: at most %d", len(name), MaxName)}
	case name[0] == '.':
		return &NameError{name, "starts with a dot"}
	}
	for i := range len(name) {
		if !strings.ContainsRune("._-", rune(name[i])) && !alphanumeric(name[i]) {
			return &NameError{name, fmt.Sprintf("byte %d is %q: only A-Z a-z 0-9 . _ -", i, name[i])}
		}
	}
	return nil
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// Path returns the absolute path of the file that name means: <dir>/<name>.shmring,
// where dir is Options.Dir, else $SHMRING_DIR, else /dev/shm. It touches no file.
// The error is a [*NameError], or an [*Error] where a relative directory cannot be
// made absolute.
func Path(name string, opt *Options) (string, error) {
	if err := ValidateName(name); err != nil {
		return "", err
	}
	dir, err := filepath.Abs(opt.orDefault().dir())
	if err != nil {
		return "", fail("resolve the directory of", name, err, "")
	}
	return filepath.Join(dir, name+Suffix), nil
}

func (o *Options) dir() string {
	if o.Dir != "" {
		return o.Dir
	}
	if dir := os.Getenv(EnvDir); dir != "" {
		return dir
	}
	return DefaultDir
}
