package mpc

// WithoutConfirmation takes the comparison of seeds by their holders out.
func (s SeedSetup) WithoutConfirmation() SeedSetup {
	s.holes.noConfirm = true
	return s
}
