//go:build !race

package run

const slowness = 1
