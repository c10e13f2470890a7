package api

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Level is what the process at the other end of a connection may do.
type Level int

// The levels, each including those before it.
const (
	LevelNone Level = iota
	LevelRead
	LevelAct
)

func (l Level) String() string {
	return [...]string{"nothing", "read", "act"}[l]
}

// Access says who may do what: root and the daemon's own user may act, as may
// members of the group Act; members of the group Read may read. Nobody is a
// member of a group that is nil.
type Access struct {
	Read *uint32
	Act  *uint32
}

// ParseAccess looks groups up by name or number; an empty name is no group.
func ParseAccess(readGroup, actGroup string) (Access, error) {
	read, err := groupID(readGroup)
	if err != nil {
		return Access{}, fmt.Errorf("socket.read-group: %w", err)
	}
	act, err := groupID(actGroup)
	if err != nil {
		return Access{}, fmt.Errorf("socket.act-group: %w", err)
	}
	return Access{Read: read, Act: act}, nil
}

func groupID(name string) (*uint32, error) {
	if name == "" {
		return nil, nil
	}
	number := name
	if _, err := strconv.ParseUint(name, 10, 32); err != nil {
		g, err := user.LookupGroup(name)
		if err != nil {
			return nil, fmt.Errorf("there is no group %q on this machine: %w", name, err)
		}
		number = g.Gid
	}
	id, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("group %q has no number: %w", name, err)
	}
	gid := uint32(id)
	return &gid, nil
}

// caller is who connected, as the kernel recorded it at connect time.
type caller struct {
	uid    uint32
	groups []uint32
}

func (a Access) level(c caller) Level {
	member := func(gid *uint32) bool { return gid != nil && slices.Contains(c.groups, *gid) }
	switch {
	case c.uid == 0 || c.uid == uint32(os.Geteuid()) || member(a.Act):
		return LevelAct
	case member(a.Read):
		return LevelRead
	}
	return LevelNone
}

// peer asks the kernel who connected. Groups come from the connection too
// (SO_PEERGROUPS), not from a database of users, so that what counts is what
// the process holds.
func peer(conn net.Conn) (caller, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return caller{}, errors.New("not a unix socket")
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return caller{}, err
	}
	var c caller
	var inner error
	err = raw.Control(func(fd uintptr) {
		var cred *unix.Ucred
		if cred, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); inner != nil {
			return
		}
		c.uid = cred.Uid
		c.groups, inner = peerGroups(fd)
		c.groups = append(c.groups, cred.Gid)
	})
	return c, errors.Join(err, inner)
}

// peerGroups reads the supplementary groups. The kernel says ERANGE and the
// size wanted when the buffer is too small.
func peerGroups(fd uintptr) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups) * 4)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4], nil
		case errno == syscall.ERANGE && int(size/4) > len(groups):
			groups = make([]uint32, size/4)
		default:
			return nil, fmt.Errorf("reading the groups of the caller: %w", errno)
		}
	}
}
