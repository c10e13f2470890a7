package keystore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// The database library trusts the pages of its file: a wrong number in one
// makes it crash the process, loop, or eat the memory. verify reads the
// structure first. The layout is bbolt's (page.go, meta.go and bucket.go in
// its internal/common), in the machine's byte order:
//
//	page     id 8, flags 2, count 2, overflow 4, then elements
//	meta     magic 4, version 4, page size 4, flags 4, root 8, sequence 8,
//	         free list 8, high water 8, transaction 8, FNV-1a of those 8
//	branch   position 4, key size 4, page 8
//	leaf     flags 4, position 4, key size 4, value size 4
//	bucket   root page 8, sequence 8; root 0: the bucket's page follows
const (
	pageHead   = 16
	branchElem = 16
	leafElem   = 16
	bucketHead = 16

	flagBranch = 1
	flagLeaf   = 2

	metaSize    = 64
	metaMagic   = 0xED0CDAED
	metaVersion = 2
	noFreeList  = 1<<64 - 1

	// Deeper than any tree of ours; a bound for recursion.
	maxDepth = 64
)

var native = binary.NativeEndian

type verifier struct {
	data     []byte
	pageSize uint64
	high     uint64
	seen     map[uint64]bool
}

// verify walks through all pages that are reachable, without the values.
func verify(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	const smallest = 2 * 512
	if info.Size() < smallest {
		return fmt.Errorf("%w: it has %d bytes, too few for a keystore", ErrDamaged, info.Size())
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map: %w", err)
	}
	defer unix.Munmap(data)
	return verifyBytes(data)
}

func verifyBytes(data []byte) error {
	v := &verifier{data: data, seen: map[uint64]bool{}}
	root, err := v.meta()
	if err != nil {
		return err
	}
	if need := v.high * v.pageSize; v.high > uint64(len(data)) || need > uint64(len(data)) {
		return fmt.Errorf("%w: it has %d bytes and should have %d pages of %d, so it was cut short", ErrDamaged, len(data), v.high, v.pageSize)
	}
	return v.page(root, 0)
}

// meta chooses between the two meta pages as the library does: the valid one
// with the higher transaction.
func (v *verifier) meta() (root uint64, err error) {
	var best, freeList uint64
	take := func(at uint64) {
		if at+pageHead+metaSize > uint64(len(v.data)) {
			return
		}
		m := v.data[at+pageHead : at+pageHead+metaSize]
		sum := fnv.New64a()
		sum.Write(m[:metaSize-8])
		size, tx := uint64(native.Uint32(m[8:])), native.Uint64(m[48:])
		if native.Uint32(m) != metaMagic || native.Uint32(m[4:]) != metaVersion || native.Uint64(m[56:]) != sum.Sum64() ||
			size < 512 || size&(size-1) != 0 || v.pageSize != 0 && (size != v.pageSize || tx < best) {
			return
		}
		v.pageSize, best, root, freeList, v.high = size, tx, native.Uint64(m[16:]), native.Uint64(m[32:]), native.Uint64(m[40:])
	}
	take(0)
	if v.pageSize != 0 {
		take(v.pageSize)
	} else {
		take(uint64(os.Getpagesize()))
	}
	if v.pageSize == 0 {
		return 0, fmt.Errorf("%w: it has no valid head; it is no keystore, or its first pages are lost", ErrDamaged)
	}
	if freeList != noFreeList {
		return 0, fmt.Errorf("%w: it has a stored list of free pages, which we never write", ErrDamaged)
	}
	return root, nil
}

// page checks the page with this id, and all below it.
func (v *verifier) page(id uint64, depth int) error {
	if id < 2 || id >= v.high {
		return fmt.Errorf("%w: a page refers to page %d of %d", ErrDamaged, id, v.high)
	}
	head := v.data[id*v.pageSize:]
	pages := 1 + uint64(native.Uint32(head[12:]))
	if native.Uint64(head) != id || pages > v.high-id {
		return fmt.Errorf("%w: page %d has a wrong head", ErrDamaged, id)
	}
	for i := range pages {
		if v.seen[id+i] {
			return fmt.Errorf("%w: page %d is in use twice", ErrDamaged, id+i)
		}
		v.seen[id+i] = true
	}
	return v.elements(head[:pages*v.pageSize], id, depth)
}

// elements checks a page's content; p is the page with its overflow, or an
// inline bucket.
func (v *verifier) elements(p []byte, id uint64, depth int) error {
	wrong := func(what string) error { return fmt.Errorf("%w: page %d has %s", ErrDamaged, id, what) }
	if depth > maxDepth {
		return wrong("too many levels above it")
	}
	if len(p) < pageHead {
		return wrong("a bucket that is cut short")
	}
	flags, count := native.Uint16(p[8:]), uint64(native.Uint16(p[10:]))
	size := uint64(len(p))
	const elem = branchElem // as large as leafElem
	switch {
	case flags != flagBranch && flags != flagLeaf:
		return wrong("an unknown kind")
	case flags == flagBranch && count == 0:
		return wrong("no children")
	case pageHead+count*elem > size:
		return wrong("too many elements")
	}
	var last []byte
	for i := range count {
		at := pageHead + i*elem
		e := p[at:]
		var pos, keySize, valueSize uint64
		if flags == flagBranch {
			pos, keySize = uint64(native.Uint32(e)), uint64(native.Uint32(e[4:]))
		} else {
			pos, keySize, valueSize = uint64(native.Uint32(e[4:])), uint64(native.Uint32(e[8:])), uint64(native.Uint32(e[12:]))
		}
		if at+pos < pageHead+count*elem || at+pos+keySize+valueSize > size {
			return wrong("an element outside of it")
		}
		key, value := p[at+pos:at+pos+keySize], p[at+pos+keySize:at+pos+keySize+valueSize]
		if i > 0 && bytes.Compare(last, key) >= 0 {
			return wrong("keys out of order")
		}
		last = key
		var err error
		switch {
		case flags == flagBranch:
			err = v.page(native.Uint64(e[8:]), depth+1)
		case native.Uint32(e) == 1:
			err = v.bucket(value, id, depth+1)
		case native.Uint32(e) != 0:
			err = wrong("an element of unknown kind")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) bucket(value []byte, id uint64, depth int) error {
	if len(value) < bucketHead {
		return fmt.Errorf("%w: page %d has a bucket that is cut short", ErrDamaged, id)
	}
	if root := native.Uint64(value); root != 0 {
		return v.page(root, depth)
	}
	inline := value[bucketHead:]
	if len(inline) >= pageHead && native.Uint16(inline[8:]) != flagLeaf {
		return fmt.Errorf("%w: page %d has an inline bucket that is no leaf", ErrDamaged, id)
	}
	return v.elements(inline, id, depth)
}
