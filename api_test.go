package shmring_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/ring"
)

const modulePath = "github.com/shmring/shmring"

// inner are the packages whose types nobody meets who uses this one.
var inner = []string{"shm", "doorbell", "layout", "ring", "futex"}

// goTool runs the go command. It is where this test comes from, so it is there.
func goTool(t *testing.T, args ...string) string {
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

// imports reads what the compiler wrote of this package and of all that it needs.
func imports(t *testing.T, fset *token.FileSet) types.Importer {
	exports := map[string]string{}
	list := goTool(t, "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".", "./shmnet", "./shmrpc")
	for line := range strings.Lines(list) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	return importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
}

// surface collects the foreign types in what a package exports.
type surface struct {
	pkg  *types.Package
	seen map[types.Type]bool
	met  []string // "where: type"
}

func foreignTypes(pkg *types.Package) []string {
	s := &surface{pkg: pkg, seen: map[types.Type]bool{}}
	for _, name := range pkg.Scope().Names() {
		object := pkg.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		s.visit(name, object.Type())
		if _, isType := object.(*types.TypeName); isType {
			s.methods(name, object.Type())
		}
	}
	return s.met
}

// methods visits the exported methods of a type, promoted ones too.
func (s *surface) methods(where string, t types.Type) {
	set := types.NewMethodSet(types.NewPointer(t))
	for i := range set.Len() {
		if m := set.At(i).Obj(); m.Exported() {
			s.visit(where+"."+m.Name(), m.Type())
		}
	}
}

func (s *surface) visit(where string, t types.Type) {
	t = types.Unalias(t)
	if s.seen[t] {
		return
	}
	s.seen[t] = true
	switch t := t.(type) {
	case *types.Named:
		s.named(where, t)
	case *types.Signature:
		for _, tuple := range []*types.Tuple{t.Params(), t.Results()} {
			for v := range tuple.Variables() {
				s.visit(where, v.Type())
			}
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() || f.Embedded() {
				s.visit(where+"."+f.Name(), f.Type())
			}
		}
	case *types.Interface:
		for m := range t.Methods() {
			s.visit(where+"."+m.Name(), m.Type())
		}
	case *types.Map:
		s.visit(where, t.Key())
		s.visit(where, t.Elem())
	case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
		s.visit(where, t.Elem())
	}
}

func (s *surface) named(where string, t *types.Named) {
	for arg := range t.TypeArgs().Types() {
		s.visit(where, arg)
	}
	switch pkg := t.Obj().Pkg(); {
	case pkg == nil: // error
	case pkg == s.pkg:
		s.visit(where, t.Underlying())
	case !t.Obj().Exported(): // embedded in a type that is ours: of it what is promoted can be met
		s.visit(where, t.Underlying())
	case slices.ContainsFunc(inner, func(name string) bool { return pkg.Path() == modulePath+"/"+name }):
		s.met = append(s.met, fmt.Sprintf("%s: %s.%s", where, pkg.Name(), t.Obj().Name()))
	}
}

// A user meets no type of an inner package: not in a signature, not in a field, not behind
// an alias, not in a variable.
func TestNoForeignTypes(t *testing.T) {
	fset := token.NewFileSet()
	from := imports(t, fset)
	pkg, err := from.Import(modulePath)
	require.NoError(t, err)
	require.Contains(t, pkg.Scope().Names(), "OpenProducer")
	require.Empty(t, foreignTypes(pkg))
	for _, name := range []string{"shmnet", "shmrpc"} {
		upon, err := from.Import(modulePath + "/" + name)
		require.NoError(t, err)
		require.Empty(t, foreignTypes(upon))
	}

	// And this would be seen.
	for source, want := range map[string]string{
		`import "M/shm"; type T struct { A shm.Applied }`:                              "T.A: shm.Applied",
		`import "M/layout"; type K = layout.Kind`:                                      "K: layout.Kind",
		`import "M/ring"; type T struct { *ring.Producer }`:                            "T.Producer: ring.Producer",
		`import "M/doorbell"; func F() ([]doorbell.Refusal, error) { panic(1) }`:       "F: doorbell.Refusal",
		`import "M/ring"; type T struct{}; func (*T) M(func(map[int]ring.Message)) {}`: "T.M: ring.Message",
		`import "M/ring"; var V *ring.Stats`:                                           "V: ring.Stats",
		`import "M/ring"; type I interface { M() chan ring.Stats }`:                    "I.M: ring.Stats",
		`import ("iter"; "M/ring"); var S iter.Seq2[ring.Message, error]`:              "S: ring.Message",
		`import "M/ring"; type T struct { hidden ring.Stats }`:                         "",
	} {
		file, err := parser.ParseFile(fset, "p.go", "package p\n"+strings.ReplaceAll(source, "M/", modulePath+"/"), 0)
		require.NoError(t, err, source)
		config := types.Config{Importer: from, Error: func(error) {}} // what does not exist is nobody's type
		broken, _ := config.Check("p", fset, []*ast.File{file}, nil)
		if want == "" {
			require.Empty(t, foreignTypes(broken), source)
		} else {
			require.Contains(t, foreignTypes(broken), want, source)
		}
	}
}

// What ring's handles can do, these can, except for what would end a stream by accident or
// is for this package only.
func TestHandlesAreComplete(t *testing.T) {
	for front, back := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[*shmring.Producer](): reflect.TypeFor[*ring.Producer](),
		reflect.TypeFor[*shmring.Consumer](): reflect.TypeFor[*ring.Consumer](),
		reflect.TypeFor[*shmring.Poller]():   reflect.TypeFor[*ring.Poller](),
		reflect.TypeFor[*shmring.Message]():  reflect.TypeFor[*ring.Message](),
		reflect.TypeFor[*shmring.Claim]():    reflect.TypeFor[*ring.Claim](),
	} {
		for i := range back.NumMethod() {
			name := back.Method(i).Name
			_, has := front.MethodByName(name)
			switch name {
			case "Attachment", "Fate", "Closed", "Detach", "Drop", "ClaimBatchInto", "Has",
				"Facade", "Fail", "Refuse", "Allow", "Guard", "Guarded", "Arm", "HasNews", "HasSpace", "Measured":
				require.False(t, has, "%v has %s", front, name)
			default:
				require.True(t, has, "%v has no %s", front, name)
			}
		}
	}
}

// go doc shows on one page what a handle can do, each with a text.
func TestDocumentation(t *testing.T) {
	page := goTool(t, "doc", modulePath, "Producer")
	for _, name := range []string{"Send", "SendKind", "SendBatch", "TrySend", "TrySendBatch", "Claim", "TryClaim",
		"CloseSend", "Close", "Stats", "Info", "Check"} {
		require.Contains(t, page, "func (p *Producer) "+name+"(")
	}
	page = goTool(t, "doc", modulePath, "Consumer")
	for _, name := range []string{"Receive", "TryReceive", "Next", "Drain", "All", "Close"} {
		require.Contains(t, page, "func (c *Consumer) "+name+"(")
	}
	require.Contains(t, goTool(t, "doc", modulePath, "Message"), "func (m *Message) Release()")
	require.Contains(t, goTool(t, "doc", modulePath, "Consumer.Drain"), "Drain handles what is there")
}

// A delegation costs nothing: the compiler puts the call of package ring in its place.
func TestDelegationsAreInlined(t *testing.T) {
	said := goTool(t, "build", "-gcflags="+modulePath+"=-m", ".")
	for _, method := range []string{
		"Producer).Send", "Producer).SendKind", "Producer).TrySend", "Producer).TrySendKind", "Producer).SendBatch",
		"Producer).TrySendBatch", "Producer).Claim", "Producer).TryClaim", "Consumer).Receive", "Consumer).TryReceive",
		"Consumer).Next", "Consumer).TryNext", "Consumer).Drain", "Consumer).All", "Claim).Bytes", "Claim).Commit",
		"Claim).Abort", "Message).Bytes", "Message).Len", "Message).Kind", "Message).Position", "Message).Release",
	} {
		require.Contains(t, said, "can inline (*"+method+"\n")
	}
}
