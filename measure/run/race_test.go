//go:build race

package run

// slowness is by how much less is asked at a time: under the race detector the
// test Internet would answer too late.
const slowness = 5
