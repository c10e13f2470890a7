package mpc

// WithoutConfirmation takes the comparison of commitments by the holders of a
// seed out.
func (s SeedSetup) WithoutConfirmation() SeedSetup {
	s.holes.noConfirm = true
	return s
}

// WithoutSession takes the comparison of the session's id out.
func (s SeedSetup) WithoutSession() SeedSetup {
	s.holes.noSession = true
	return s
}
