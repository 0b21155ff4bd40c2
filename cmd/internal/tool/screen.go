package tool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/ansi"

	"github.com/shmring/shmring"
)

// terminal is what top has on a terminal: the other screen, which leaves what the user had before.
type terminal struct {
	top   *top
	every time.Duration
	left  int // looks; 0 or less: without end
	from  int // the line at the top, of those below the heading
	width int
	rows  int
	text  string // what was seen
	err   error
}

// seen is what a look has brought.
type seen struct {
	text string
	err  error
	took time.Duration
}

// toStop: somebody wants us to stop. wentOn: we have, and went on.
type (
	toStop struct{}
	wentOn struct{ err error }
)

// dueNow: it is time to look.
type dueNow struct{}

// runTerminal looks until ctx ends, the user wants no more, or count looks are done.
func (p *top) runTerminal(ctx context.Context, every time.Duration, count int, w io.Writer) error {
	t := &terminal{top: p, every: every, left: count, width: 80, rows: 24}
	keys, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err == nil {
		defer keys.Close()
	} else {
		keys = nil
	}
	options := []tea.ProgramOption{tea.WithOutput(screenFile{w}), tea.WithoutSignalHandler(),
		tea.WithColorProfile(colorprofile.ANSI)} // asked for, it would run tmux to find out
	if keys != nil {
		options = append(options, tea.WithInput(keys))
	} else {
		options = append(options, tea.WithInput(nil))
	}
	program := tea.NewProgram(t, options...)
	stop := context.AfterFunc(ctx, program.Quit)
	defer stop()
	stops := stopsByOthers(func() { program.Send(toStop{}) })
	defer stops.done()
	_, err = program.Run()
	return errors.Join(err, t.err)
}

// screenFile is a writer to a terminal, as a file.
type screenFile struct{ w io.Writer }

// questions are what the library asks a terminal. A terminal far away may answer when we are gone, and a shell
// would take that for what somebody types; and we do without what they are for.
var questions = strings.NewReplacer("\x1b[?2026$p", "", "\x1b[?2027$p", "", "\x1b[?u", "")

func (f screenFile) Write(p []byte) (int, error) {
	if _, err := io.WriteString(f.w, questions.Replace(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f screenFile) Read([]byte) (int, error) { return 0, io.EOF }
func (f screenFile) Close() error             { return nil }
func (f screenFile) Fd() uintptr              { return f.w.(interface{ Fd() uintptr }).Fd() }

// Init implements tea.Model.
func (t *terminal) Init() tea.Cmd { return t.look }

// look looks, on a goroutine of its own, of which there is one at a time.
func (t *terminal) look() tea.Msg {
	begin := time.Now()
	err := t.top.look()
	return seen{t.top.text(begin, os.Getenv("NO_COLOR") == ""), err, time.Since(begin)}
}

// Update implements tea.Model.
func (t *terminal) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case dueNow:
		return t, t.look
	case seen:
		t.text, t.err = msg.text, msg.err
		if t.left--; t.left == 0 || t.err != nil {
			return t, tea.Quit
		}
		return t, tea.Tick(max(t.every-msg.took, 0), func(time.Time) tea.Msg { return dueNow{} })
	case tea.WindowSizeMsg:
		t.width, t.rows = msg.Width, msg.Height
	case toStop:
		return t, t.stop()
	case wentOn:
		if t.err = msg.err; t.err != nil {
			return t, tea.Quit
		}
	case tea.KeyPressMsg:
		return t, t.key(msg.String())
	}
	return t, nil
}

// key does what a key is for.
func (t *terminal) key(name string) tea.Cmd {
	switch name {
	case "q", "Q", "esc", "ctrl+c", "ctrl+d":
		return tea.Quit
	case "ctrl+z":
		return t.stop()
	case "down", "j":
		t.from++
	case "up", "k":
		t.from--
	case "pgdown", "space":
		t.from += t.page()
	case "pgup":
		t.from -= t.page()
	case "home", "g":
		t.from = 0
	}
	return nil
}

// stop stops this process, with the screen as it was before, until a shell lets it go on.
func (t *terminal) stop() tea.Cmd {
	if !canStop() {
		return nil
	}
	return tea.Exec(stopped{}, func(err error) tea.Msg { return wentOn{err} })
}

// headings is how many lines of the table stay while the rest moves.
const headings = 2

// page is how many rings fit on the screen.
func (t *terminal) page() int { return max(t.rows-headings-1, 1) }

// View implements tea.Model.
func (t *terminal) View() tea.View {
	lines := strings.Split(strings.TrimRight(t.text, "\n"), "\n")
	head := lines[:min(headings, len(lines))]
	rest := lines[len(head):]
	t.from = max(min(t.from, len(rest)-t.page()), 0)
	rest = rest[t.from:min(t.from+t.page(), len(rest))]
	foot := "q: quit, ctrl-z: stop"
	if len(lines)-len(head) > t.page() {
		foot += fmt.Sprintf(", arrows: more (%d of %d)", t.from+len(rest), len(lines)-len(head))
	}
	all := append(append(append([]string{}, head...), rest...), foot)
	v := tea.NewView(frame(all, t.width, t.rows))
	v.AltScreen = true
	return v
}

// frame cuts lines to a screen.
func frame(lines []string, width, rows int) string {
	lines = lines[:min(len(lines), max(rows, 1))]
	for i := range lines {
		lines[i] = ansi.Truncate(lines[i], max(width, 0), "")
	}
	return strings.Join(lines, "\n")
}

// coloured is a verdict in the colour of how bad it is.
func coloured(s shmring.Severity, text string) string {
	switch s {
	case shmring.SeverityProblem:
		return ansi.NewStyle().ForegroundColor(ansi.Red).String() + text + ansi.ResetStyle
	case shmring.SeverityWarning:
		return ansi.NewStyle().ForegroundColor(ansi.Yellow).String() + text + ansi.ResetStyle
	case shmring.SeverityOK:
		return ansi.NewStyle().ForegroundColor(ansi.Green).String() + text + ansi.ResetStyle
	}
	return text
}
