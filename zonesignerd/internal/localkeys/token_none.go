//go:build !cgo

package localkeys

import (
	"errors"

	"zonesigner/dnssec"
)

// Token would be a PKCS #11 token: see the build with cgo.
type Token struct{}

var errNoCgo = errors.New("this program was built without cgo, which PKCS #11 needs: build it with CGO_ENABLED=1 and a C compiler")

// OpenToken says that this build has no tokens.
func OpenToken(TokenOptions) (*Token, error) { return nil, errNoCgo }

// Load is not reached.
func (*Token) Load(string, dnssec.Name) (*Key, error) { return nil, errNoCgo }

// Close does nothing.
func (*Token) Close() error { return nil }
