package shmprom_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	shmprom "github.com/shmring/shmring/contrib/prometheus"
)

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// rings makes a directory with a ring in which one message of three waits, one that is damaged, and a
// file that is none.
func rings(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	o := &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOrCreate, Slots: 16, Doorbell: shmring.DoorbellFutex,
		Label: "a \"label\"\n", MeasureEvery: 1}
	p, err := shmring.OpenProducer(soon(t), "r", o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	c, err := shmring.OpenConsumer(soon(t), "r", o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	for range 2 {
		require.NoError(t, p.Send(soon(t), []byte("12345")))
		_, err = c.TryDrain(1, func(shmring.Message) error { return nil })
		require.NoError(t, err)
	}
	require.NoError(t, c.Check())
	require.NoError(t, p.Send(soon(t), []byte("123")))
	b, err := os.ReadFile(filepath.Join(dir, "r.shmring"))
	require.NoError(t, err)
	b[66]++
	require.NoError(t, os.WriteFile(filepath.Join(dir, "damaged.shmring"), b, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text.shmring"), []byte("hello"), 0o600))
	return dir
}

func TestLinter(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(shmprom.New(&shmring.InspectOptions{Dir: rings(t)}))
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestValues(t *testing.T) {
	dir := rings(t)
	c := shmprom.New(&shmring.InspectOptions{Dir: dir})
	expected := `# TYPE shmring_messages_total counter
shmring_messages_total{ring="r"} 2
# TYPE shmring_bytes_total counter
shmring_bytes_total{ring="r"} 10
# TYPE shmring_consumer_lag_messages gauge
shmring_consumer_lag_messages{ring="r"} 1
# TYPE shmring_consumer_lag_bytes gauge
shmring_consumer_lag_bytes{ring="r"} 3
# TYPE shmring_occupancy_bytes gauge
shmring_occupancy_bytes{ring="r"} 16
# TYPE shmring_capacity_bytes gauge
shmring_capacity_bytes{ring="r"} 8192
# TYPE shmring_sent_ring_bytes_total counter
shmring_sent_ring_bytes_total{ring="r"} 48
# TYPE shmring_released_ring_bytes_total counter
shmring_released_ring_bytes_total{ring="r"} 32
# TYPE shmring_ring_readable gauge
shmring_ring_readable{ring="damaged"} 0
shmring_ring_readable{ring="r"} 1
shmring_ring_readable{ring="text"} 0
# TYPE shmring_rings gauge
shmring_rings 3
`
	text := scrape(t, c)
	for line := range strings.Lines(expected) {
		require.Contains(t, text, line)
	}
	require.Regexp(t, `shmring_participant_info\{label="a \\"label\\"\?",participant="0",pid="\d+",ring="r",`+
		`role="consumer"\} 1`, text, "what cannot be printed is a question mark")
	require.Regexp(t, `shmring_progress_timestamp_seconds\{participant="0",ring="r",role="consumer"\} 1\.\d+e\+09`,
		text)
	require.Contains(t, text, `shmring_verdict{code="damaged",ring="damaged",severity="problem"} 1`)
	require.Contains(t, text, `shmring_queueing_seconds_bucket{ring="r",le="+Inf"} 2`)
	require.Contains(t, text, `shmring_queueing_seconds_count{ring="r"} 2`)
	require.Contains(t, text, "shmring_up 1\n")
	none := shmprom.New(&shmring.InspectOptions{Dir: filepath.Join(dir, "none")})
	require.Contains(t, scrape(t, none), "shmring_up 0\n")
}

func scrape(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	return w.Body.String()
}

// Nothing is held between two scrapes.
func TestNothingIsHeld(t *testing.T) {
	c := shmprom.New(&shmring.InspectOptions{Dir: rings(t)})
	scrape(t, c)
	count := func() (descriptors, goroutines int) {
		list, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(list), runtime.NumGoroutine()
	}
	d, g := count()
	for range 20 {
		scrape(t, c)
	}
	for ctx := soon(t); ; runtime.Gosched() { // goroutines of the registry may be on their way out
		if descriptors, goroutines := count(); descriptors <= d && goroutines <= g {
			break
		}
		require.NoError(t, ctx.Err())
	}
}

// The dashboard asks for nothing that is not exported, and for most that is.
func TestDashboardNamesWhatIsExported(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(shmprom.New(&shmring.InspectOptions{Dir: rings(t)}))
	families, err := registry.Gather()
	require.NoError(t, err)
	var exported []string
	for _, f := range families {
		exported = append(exported, f.GetName())
		if f.GetType().String() == "HISTOGRAM" {
			exported = append(exported, f.GetName()+"_bucket", f.GetName()+"_sum", f.GetName()+"_count")
		}
	}
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Title  string `json:"title"`
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	name := regexp.MustCompile(`shmring_[a-z_]+`)
	asked := 0
	for _, p := range dashboard.Panels {
		require.NotEmpty(t, p.Targets, p.Title)
		for _, q := range p.Targets {
			names := name.FindAllString(q.Expr, -1)
			require.NotEmpty(t, names, q.Expr)
			for _, n := range names {
				require.Contains(t, exported, n, "panel %q", p.Title)
				asked++
			}
		}
	}
	require.GreaterOrEqual(t, asked, 15)
	for _, n := range name.FindAllString(string(text), -1) {
		require.True(t, slices.Contains(exported, n) || n == "shmring_rings", "%s, outside of panels", n)
	}
}
