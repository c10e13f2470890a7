package run

import (
	"os"

	"golang.org/x/sys/unix"
)

// release lets go of the pages of a file that is mapped at addr, which a run
// looks at once as its list goes by: without it all of the store would be in
// memory at the end. What is looked at again comes from the file.
func release(addr uintptr, size int64) error {
	_, _, errno := unix.Syscall(unix.SYS_MADVISE, addr, uintptr(size), unix.MADV_DONTNEED)
	if errno != 0 {
		return os.NewSyscallError("madvise", errno)
	}
	return nil
}
