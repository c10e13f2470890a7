package mpc

// WithoutLists takes the comparison of commitments by the holders of a
// seed out.
func (s SeedSetup) WithoutLists() SeedSetup {
	s.holes.noLists = true
	return s
}

// WithoutSession takes the comparison of the session's id out.
func (s SeedSetup) WithoutSession() SeedSetup {
	s.holes.noSession = true
	return s
}
