package status

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/shmring/shmring"
)

//go:embed page
var page embed.FS

const (
	// fresh is how long a look serves others.
	fresh = 250 * time.Millisecond
	// defaultEvery is how often /events looks, minEvery how often it may be asked to.
	defaultEvery = time.Second
	minEvery     = fresh
	// maxStreams is how many /events there may be at a time.
	maxStreams = 64
	// writePatience is how long one who reads /events may take for one of them.
	writePatience = 10 * time.Second
)

// Handler serves the page. Any number of goroutines may use it.
type Handler struct {
	mux     http.ServeMux
	monitor *shmring.Monitor
	streams chan struct{} // one for each /events

	mu   sync.Mutex
	last []byte
	at   time.Time
}

// New makes a Handler for the rings of a directory. Of the options Dir matters; nil is $SHMRING_DIR,
// else /dev/shm.
func New(o *shmring.InspectOptions) *Handler {
	h := &Handler{monitor: shmring.NewMonitor(o), streams: make(chan struct{}, maxStreams)}
	for path, file := range map[string]string{"/{$}": "index.html", "/page.js": "page.js", "/page.css": "page.css"} {
		h.mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, page, "page/"+file)
		})
	}
	h.mux.HandleFunc("GET /rings", h.rings)
	h.mux.HandleFunc("GET /events", h.events)
	return h
}

// ServeHTTP serves a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "" { // mounted without a slash at the end: what the page loads is relative to it
		http.Error(w, "mount this with a slash at the end, as /debug/shmring/", http.StatusNotFound)
		return
	}
	head := w.Header()
	head.Set("Content-Security-Policy",
		"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "no-store")
	h.mux.ServeHTTP(w, r)
}

// look returns what there is, as JSON in one line.
func (h *Handler) look(ctx context.Context) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last != nil && time.Since(h.at) < fresh {
		return h.last, nil
	}
	list, err := h.monitor.Look(ctx)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	h.last, h.at = text, time.Now()
	return text, nil
}

func (h *Handler) rings(w http.ResponseWriter, r *http.Request) {
	text, err := h.look(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text[:len(text):len(text)], '\n')) // who asked may have gone
}

// events sends looks until the request ends, which is when the page is left, or the server is closed.
func (h *Handler) events(w http.ResponseWriter, r *http.Request) {
	every := defaultEvery
	if text := r.URL.Query().Get("every"); text != "" {
		var err error
		if every, err = time.ParseDuration(text); err != nil || every < minEvery {
			http.Error(w, fmt.Sprintf("every=%q: want a duration, %v or more", text, minEvery), http.StatusBadRequest)
			return
		}
	}
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		http.Error(w, fmt.Sprintf("%d look already", maxStreams), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		kind, text := "", []byte(nil)
		text, err := h.look(r.Context())
		if err != nil {
			kind = "event: trouble\n"
			text, _ = json.Marshal(err.Error()) // a text can be marshalled
		}
		// Where the server cannot do that, its own timeouts hold.
		_ = control.SetWriteDeadline(time.Now().Add(writePatience))
		if _, err := fmt.Fprintf(w, "%sdata: %s\n\n", kind, text); err != nil {
			return
		}
		if err := control.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}
