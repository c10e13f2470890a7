//go:build !race

package node

const slowness = 1
