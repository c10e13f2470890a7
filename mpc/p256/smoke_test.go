package p256

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
)

func TestSmoke(t *testing.T) {
	g := Generator()
	if !BaseMult(One()).Equal(g) || !onCurve(genX, genY) {
		t.Fatal("G")
	}
	k, _ := RandomScalar(rand.Reader)
	if !k.Mul(k.Inverse()).Equal(One()) {
		t.Fatal("inv")
	}
	j, _ := RandomScalar(rand.Reader)
	if !BaseMult(k).Add(BaseMult(j)).Equal(BaseMult(k.Add(j))) {
		t.Fatal("add")
	}
	if !BaseMult(k).Mult(j).Equal(BaseMult(j.Mul(k))) {
		t.Fatal("mult")
	}
	if !g.MultSmall(-5).Equal(BaseMult(NewScalar(5).Neg())) {
		t.Fatal("small")
	}
	b, err := BaseMult(k).Add(g).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p, err := PointFromBytes(b[:])
	if err != nil || !p.Equal(BaseMult(k.Add(One()))) {
		t.Fatal("codec", err)
	}
	sk, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	pk, err := PointFromPublicKey(&sk.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	_ = pk
	var sig [64]byte
	d := sha256.Sum256([]byte("x"))
	r, s, _ := ecdsa.Sign(rand.Reader, sk, d[:])
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	if !VerifySignature(pk, d, sig) {
		t.Fatal("verify")
	}
}
func BenchmarkMul(b *testing.B) {
	x, _ := RandomScalar(rand.Reader)
	y := x
	for b.Loop() {
		y = y.Mul(x)
	}
}
func BenchmarkFieldMul(b *testing.B) {
	x := genX
	for b.Loop() {
		x = x.mul(genY)
	}
}
func BenchmarkAdd(b *testing.B) {
	x := Generator()
	y := x
	for b.Loop() {
		y = y.Add(x)
	}
}
func BenchmarkBaseMult(b *testing.B) {
	k, _ := RandomScalar(rand.Reader)
	for b.Loop() {
		BaseMult(k)
	}
}
func BenchmarkFieldInverse(b *testing.B) {
	x := genX
	for b.Loop() {
		x = x.inverse()
	}
}
