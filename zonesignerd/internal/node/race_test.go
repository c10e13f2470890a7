//go:build race

package node

// slowness is by how much everything may take longer: under the race detector
// five or seven operators share what one computes with otherwise.
const slowness = 5
