//go:build !linux

package watch

// Watch is a watch that nobody has.
type Watch struct{}

// Add reports ErrUnsupported.
func Add(string, func()) (*Watch, error) { return nil, ErrUnsupported }

// AddName reports ErrUnsupported.
func AddName(string, string, func()) (*Watch, error) { return nil, ErrUnsupported }

// Heard does nothing.
func Heard() {}

// Close does nothing.
func (*Watch) Close() {}
