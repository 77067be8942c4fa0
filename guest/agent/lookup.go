package agent

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

func execError(code int, what string, err error) *ExecError {
	e := &ExecError{Code: code, Message: what + ": " + err.Error()}
	var errno unix.Errno
	if errors.As(err, &errno) {
		e.Errno = int(errno)
	}
	return e
}

// findProgram looks name up as execvp(3) does, in the PATH of the command's
// own environment.
func findProgram(name, dir string, env []string) (string, *ExecError) {
	if dir != "" {
		var st unix.Stat_t
		err := unix.Stat(dir, &st)
		if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			err = unix.ENOTDIR
		}
		if err != nil {
			return "", execError(126, "working directory "+dir, err)
		}
	}
	if strings.Contains(name, "/") {
		if err := runnable(within(dir, name)); err != nil {
			return "", lookupError(name, err)
		}
		return name, nil
	}
	found := error(unix.ENOENT)
	for place := range strings.SplitSeq(envValue(env, "PATH"), ":") {
		if place == "" {
			place = "."
		}
		path := place + "/" + name
		err := runnable(within(dir, path))
		if err == nil {
			return path, nil
		}
		if !absent(err) {
			found = err
		}
	}
	return "", lookupError(name, found)
}

func absent(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

func lookupError(name string, err error) *ExecError {
	if absent(err) {
		return &ExecError{Code: 127, Errno: int(unix.ENOENT), Message: name + ": command not found"}
	}
	return execError(126, name, err)
}

// within is path as seen from dir.
func within(dir, path string) string {
	if dir == "" || strings.HasPrefix(path, "/") {
		return path
	}
	return dir + "/" + path
}

// runnable says why path cannot be run: nil for a file with an execute bit.
func runnable(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	if st.Mode&0o111 == 0 {
		return unix.EACCES
	}
	return nil
}

func envValue(env []string, key string) string {
	value := ""
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && k == key {
			value = v
		}
	}
	return value
}

// mergeEnv is base with the entries of over added or replaced.
func mergeEnv(base, over []string) []string {
	out := make([]string, 0, len(base)+len(over))
	for _, kv := range base {
		k, _, _ := strings.Cut(kv, "=")
		replaced := false
		for _, o := range over {
			ok, _, _ := strings.Cut(o, "=")
			replaced = replaced || ok == k
		}
		if !replaced {
			out = append(out, kv)
		}
	}
	return append(out, over...)
}
