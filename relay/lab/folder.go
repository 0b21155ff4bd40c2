//go:build linux

package main

import (
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const folderName = "relaylab-*"

// folder makes a folder of the laboratory, and removes those of laboratories that were killed: nobody holds their
// flock. done removes it, unless it is to be kept.
func folder(in string, keep bool) (path string, done func(), err error) {
	left, err := filepath.Glob(filepath.Join(in, folderName))
	if err != nil {
		return "", nil, err
	}
	for _, old := range left {
		st, err := os.Stat(old)
		if err != nil || time.Since(st.ModTime()) < time.Minute {
			continue // of one that has not locked it yet, perhaps
		}
		if f, err := lock(old); err == nil {
			os.RemoveAll(old)
			f.Close()
		}
	}
	if path, err = os.MkdirTemp(in, folderName); err != nil {
		return "", nil, err
	}
	f, err := lock(path)
	if err != nil {
		return "", nil, err
	}
	return path, func() {
		if !keep {
			os.RemoveAll(path)
		}
		f.Close()
	}, nil
}

// lock takes the flock of a folder. It is ours until the file is closed, or we are gone.
func lock(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: path, Err: err}
	}
	return f, nil
}
