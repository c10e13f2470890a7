// Package heap keeps the garbage collector of a process that holds little from
// running all the time.
package heap

import "sync"

// Floor is what the collector takes to be in use from the start. It collects
// when the heap has doubled: every 4 MB without this, which are two signatures'
// messages. What is never touched takes addresses and no memory.
const Floor = 32 << 20

var (
	raise sync.Once
	floor []byte
)

// Raise puts the floor in, once.
func Raise() { raise.Do(func() { floor = make([]byte, Floor) }) }
