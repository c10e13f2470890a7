//go:build cgo

package localkeys

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"

	"zonesigner/dnssec"
)

// Of PKCS #11 v3.0, for Ed25519.
const (
	keyEdwards     = 0x40   // CKK_EC_EDWARDS
	mechanismEdDSA = 0x1057 // CKM_EDDSA
)

// Token is a PKCS #11 token that its user is logged in to, with a pool of
// sessions: a session makes one signature at a time.
type Token struct {
	ctx      *pkcs11.Ctx
	sessions chan pkcs11.SessionHandle
	name     string
}

// OpenToken logs in to a token. One that gives fewer sessions than are wanted
// signs with those. Close it at the end.
func OpenToken(o TokenOptions) (t *Token, err error) {
	ctx := pkcs11.New(o.Module)
	if ctx == nil {
		return nil, fmt.Errorf("%s is not a PKCS #11 module that can be loaded", o.Module)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", o.Module, err)
			ctx.Destroy()
		}
	}()
	if err := ctx.Initialize(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ctx.Finalize())
		}
	}()
	slot, name, err := findSlot(ctx, o.Label)
	if err != nil {
		return nil, err
	}
	first, err := ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
	if err != nil {
		return nil, err
	}
	if err := ctx.Login(first, pkcs11.CKU_USER, o.PIN); err != nil { // it holds for all sessions
		return nil, fmt.Errorf("login to token %q: %w", name, err)
	}
	sessions := []pkcs11.SessionHandle{first}
	for len(sessions) < o.Sessions {
		var s pkcs11.SessionHandle
		var err error = pkcs11.Error(pkcs11.CKR_SESSION_COUNT)
		if len(sessions) != o.given {
			s, err = ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		}
		if err != nil {
			break
		}
		sessions = append(sessions, s)
	}
	t = &Token{ctx: ctx, name: name, sessions: make(chan pkcs11.SessionHandle, len(sessions))}
	for _, s := range sessions {
		t.sessions <- s
	}
	return t, nil
}

// findSlot is the slot of the token with that label.
func findSlot(ctx *pkcs11.Ctx, label string) (slot uint, name string, err error) {
	slots, err := ctx.GetSlotList(true)
	if err != nil {
		return 0, "", err
	}
	var names []string
	found := 0
	for _, s := range slots {
		info, err := ctx.GetTokenInfo(s)
		if err != nil || info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue
		}
		got := strings.TrimRight(info.Label, " \x00")
		names = append(names, fmt.Sprintf("%q", got))
		if label == "" || label == got {
			slot, name = s, got
			found++
		}
	}
	switch {
	case found == 1:
		return slot, name, nil
	case len(names) == 0:
		return 0, "", errors.New("it has no initialized token")
	case found == 0:
		return 0, "", fmt.Errorf("it has no token %q, but %s", label, strings.Join(names, ", "))
	}
	return 0, "", fmt.Errorf("it has %d tokens that fit (%s): say which, by its label", found, strings.Join(names, ", "))
}

// Close logs out and gives the module up. No key of the token may be in use.
func (t *Token) Close() error {
	var err error
	for range cap(t.sessions) {
		err = errors.Join(err, t.ctx.CloseSession(<-t.sessions))
	}
	err = errors.Join(err, t.ctx.Finalize())
	t.ctx.Destroy()
	return err
}

// Load finds the key that spec names: ROLE:LABEL.
func (t *Token) Load(spec string, _ dnssec.Name) (*Key, error) {
	role, label, err := splitTokenSpec(spec)
	if err != nil {
		return nil, err
	}
	source := fmt.Sprintf("token %s, key %s", t.name, label)
	session := <-t.sessions
	defer func() { t.sessions <- session }()
	private, err := t.find(session, pkcs11.CKO_PRIVATE_KEY, pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
	if err != nil {
		return nil, fmt.Errorf("%s: private key: %w", source, err)
	}
	parts, err := t.ctx.GetAttributeValue(session, private, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ID, nil)})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	same := pkcs11.NewAttribute(pkcs11.CKA_ID, parts[0].Value)
	if len(parts[0].Value) == 0 {
		same = pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)
	}
	object, err := t.find(session, pkcs11.CKO_PUBLIC_KEY, same)
	if err != nil {
		return nil, fmt.Errorf("%s: public key: %w", source, err)
	}
	read, err := t.read(session, object)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	public, algorithm, err := read.public()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", source, err)
	}
	s := &tokenSigner{token: t, object: private, public: public, algorithm: algorithm}
	k, err := newTokenKey(public, algorithm, role, source, s)
	if err != nil {
		return nil, err
	}
	s.size = k.SignatureSize()
	return k, nil
}

// find is the one object of a class with an attribute.
func (t *Token) find(s pkcs11.SessionHandle, class uint, attribute *pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	if err := t.ctx.FindObjectsInit(s, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), attribute}); err != nil {
		return 0, err
	}
	objects, _, err := t.ctx.FindObjects(s, 2)
	if err := errors.Join(err, t.ctx.FindObjectsFinal(s)); err != nil {
		return 0, err
	}
	if len(objects) != 1 {
		return 0, fmt.Errorf("found %s, want one", map[bool]string{true: "none", false: "several"}[len(objects) == 0])
	}
	return objects[0], nil
}

// read takes a public key's attributes.
func (t *Token) read(s pkcs11.SessionHandle, object pkcs11.ObjectHandle) (k tokenKey, err error) {
	get := func(types ...uint) ([][]byte, error) {
		var template []*pkcs11.Attribute
		for _, a := range types {
			template = append(template, pkcs11.NewAttribute(a, nil))
		}
		got, err := t.ctx.GetAttributeValue(s, object, template)
		if err != nil {
			return nil, err
		}
		values := make([][]byte, len(types))
		for i, a := range got {
			values[i] = a.Value
		}
		return values, nil
	}
	is := func(kind uint) bool {
		v, err := get(pkcs11.CKA_KEY_TYPE)
		return err == nil && string(v[0]) == string(pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, kind).Value)
	}
	switch {
	case is(pkcs11.CKK_RSA):
		k.rsa = true
		v, err := get(pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT)
		if err != nil {
			return k, err
		}
		k.modulus, k.e = v[0], v[1]
	case is(pkcs11.CKK_EC), is(keyEdwards):
		k.edwards = is(keyEdwards)
		v, err := get(pkcs11.CKA_EC_PARAMS, pkcs11.CKA_EC_POINT)
		if err != nil {
			return k, err
		}
		k.ecParams, k.point = v[0], v[1]
	default:
		return k, errors.New("want a key of RSA, ECDSA or Ed25519")
	}
	return k, nil
}

// tokenSigner signs with a key that does not leave its token.
type tokenSigner struct {
	token     *Token
	object    pkcs11.ObjectHandle
	public    crypto.PublicKey
	algorithm uint8
	size      int // of a signature
}

func (k *tokenSigner) sign(n int, message func(i int) []byte, sigs []byte) error {
	session := <-k.token.sessions
	defer func() { k.token.sessions <- session }()
	for i := range n {
		m := message(i)
		mechanism, input := k.input(m)
		if err := k.token.ctx.SignInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, k.object); err != nil {
			return err
		}
		sig, err := k.token.ctx.Sign(session, input)
		if err != nil {
			return err
		}
		if len(sig) != k.size || !verifies(k.public, m, sig) {
			return errNotTrue
		}
		copy(sigs[i*k.size:], sig)
	}
	return nil
}

// sha256Info is the DigestInfo of SHA-256 before the digest (RFC 8017, section
// 9.2, note 1).
const sha256Info = "\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20"

// input is the mechanism for a message, and what the token is given. Every
// token has these mechanisms; those that hash in the token are rarer.
func (k *tokenSigner) input(message []byte) (mechanism uint, input []byte) {
	switch k.algorithm {
	case dnssec.RSASHA256:
		sum := sha256.Sum256(message)
		return pkcs11.CKM_RSA_PKCS, append([]byte(sha256Info), sum[:]...)
	case dnssec.ECDSAP384SHA384:
		sum := sha512.Sum384(message)
		return pkcs11.CKM_ECDSA, sum[:]
	case dnssec.ED25519:
		return mechanismEdDSA, message
	}
	sum := sha256.Sum256(message)
	return pkcs11.CKM_ECDSA, sum[:]
}

func (k *tokenSigner) verify(n int, signed func(i int) (message []byte, sig string)) (bad []int, err error) {
	return verifyAll(k.public, n, signed), nil
}
