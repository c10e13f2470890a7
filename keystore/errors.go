package keystore

import "errors"

// Callers decide by these with errors.Is; the text around them says which
// file, key or chunk it was, and what was expected.
var (
	ErrNoStore     = errors.New("no keystore here")
	ErrExists      = errors.New("a keystore exists already")
	ErrClosed      = errors.New("keystore is closed")
	ErrLocked      = errors.New("keystore is in use by another process")
	ErrNewer       = errors.New("keystore was written by a newer version")
	ErrDamaged     = errors.New("keystore is damaged")
	ErrPermissions = errors.New("permissions are too wide")
	ErrWrongKey    = errors.New("wrong sealing key")
	ErrBadSource   = errors.New("sealing key cannot be used")
	ErrFailed      = errors.New("keystore stopped after a failed write; restart to read what is on disk")

	ErrNotFound = errors.New("not found")
	ErrState    = errors.New("not a key state")

	ErrSpent      = errors.New("tuples are spent already")
	ErrNoChunk    = errors.New("no such chunk in this pool")
	ErrKnownChunk = errors.New("chunk was added before")
	ErrRange      = errors.New("range does not fit the chunk")
	ErrSuspended  = errors.New("tuples from before the start are not confirmed yet")
	ErrRestored   = errors.New("keystore was restored from an older copy; all tuples were discarded")
	ErrFewMarks   = errors.New("too few operators gave the mark that they hold")
)
