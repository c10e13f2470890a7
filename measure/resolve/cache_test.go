package resolve

import (
	"testing"
	"testing/synctest"
	"time"

	"zonesigner/measure"
)

// TestFailuresPass wants what was found remembered for good, and what could not
// be found out for a while.
func TestFailuresPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(10)
		status, found := measure.Timeout, 0
		ask := func(name string) measure.Status {
			host, err := h.get(t.Context(), nil, nil, name, func(*flight) (Host, budget, error) { found++; return Host{Status: status}, budget{}, nil })
			if err != nil {
				t.Fatal(err)
			}
			return host.Status
		}
		ask("a")
		status = measure.NoError
		if got := ask("a"); got != measure.Timeout || found != 1 {
			t.Errorf("at once %s, %d lookups", got, found)
		}
		time.Sleep(failureLife + time.Second)
		if got := ask("a"); got != measure.NoError || found != 2 {
			t.Errorf("later %s, %d lookups", got, found)
		}
		time.Sleep(24 * time.Hour)
		if ask("a"); found != 2 {
			t.Errorf("%d lookups of what was found", found)
		}
		status = measure.NXDomain
		ask("b")
		time.Sleep(time.Hour)
		if ask("b"); found != 3 {
			t.Errorf("%d lookups of a name that does not exist", found)
		}
	})
}

// TestQueriesShared wants what a lookup of name servers' addresses asks on the
// way counted with the lookup that needs it, and a failure for want of queries
// not remembered.
func TestQueriesShared(t *testing.T) {
	h := newHosts(10)
	b := &budget{left: time.Minute, queries: maxQueries - 5}
	fail := func(*flight) (Host, budget, error) {
		return Host{Status: measure.Timeout}, budget{queries: 5, waited: time.Second}, nil
	}
	if _, err := h.get(t.Context(), b, nil, "a", fail); err != nil || !b.spent() || b.waited != time.Second {
		t.Errorf("%v, budget %+v", err, b)
	}
	host, err := h.get(t.Context(), nil, nil, "a", func(*flight) (Host, budget, error) { return Host{Status: measure.NoError}, budget{}, nil })
	if err != nil || host.Status != measure.NoError {
		t.Errorf("with queries of its own: %s, %v", host.Status, err)
	}
}
