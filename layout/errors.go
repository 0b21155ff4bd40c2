package layout

import "errors"

// What can be wrong with the bytes of a segment, or with a wish for one. Each comes
// wrapped in a *FieldError that says where.
var (
	// ErrFormat: these bytes are not a shmring segment at all.
	ErrFormat = errors.New("not a shmring segment")
	// ErrVersion: a segment of a version, byte order or feature set that this
	// program does not speak. It is not damaged: use a matching program, or remove
	// the segment and let it be created anew.
	ErrVersion = errors.New("incompatible segment version")
	// ErrCorrupt: a segment whose bytes contradict each other.
	ErrCorrupt = errors.New("corrupt segment")
	// ErrConfig: a geometry that cannot be.
	ErrConfig = errors.New("invalid geometry")
)

// FieldError names the field that was refused. Unwrap gives one of the four
// sentinels above.
type FieldError struct {
	Field string
	Got   string
	Want  string
	Err   error
}

func (e *FieldError) Error() string {
	return "layout: " + e.Err.Error() + ": " + e.Field + " is " + e.Got + ", want " + e.Want
}

// Unwrap returns the sentinel.
func (e *FieldError) Unwrap() error { return e.Err }
