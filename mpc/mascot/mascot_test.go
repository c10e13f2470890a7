package mascot

import (
	"testing"

	"go.uber.org/goleak"

	"zonesigner/mpc/abbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	abbtest.Run(t, Full(), abbtest.Claims{Active: true})
	abbtest.Run(t, Minus(), abbtest.Claims{Active: true})
}
