//go:build race

package run

// slowness is by how much every answer may take longer: under the race
// detector the test Internet answers late.
const slowness = 3
