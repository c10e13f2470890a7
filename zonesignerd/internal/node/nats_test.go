package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"zonesigner/zonesignerd/config"
)

// authority is a CA of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue signs a certificate for 127.0.0.1.
func (a *authority) issue(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "nats"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// natsServer is a NATS server that lets in the operators over TLS alone, and
// its URL.
func (o *operators) natsServer(cert tls.Certificate) string {
	o.t.Helper()
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		TLS: true, TLSTimeout: 5, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}}
	for _, op := range o.group.Operators {
		opts.Nkeys = append(opts.Nkeys, &server.NkeyUser{Nkey: op.NKey})
	}
	srv, err := server.NewServer(opts)
	must(o.t, err)
	srv.Start()
	o.t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(10 * time.Second) {
		o.t.Fatal("the NATS server did not start")
	}
	return "tls://" + srv.Addr().String()
}

// Daemons reach one another over a NATS server whose certificate a CA signed.
// One that trusts another CA says so, and joins nothing.
func TestNATSServerOverTLS(t *testing.T) {
	t.Parallel()
	o := newOperators(t, 3, 1)
	right, wrong := newAuthority(t, "right"), newAuthority(t, "wrong")
	url := o.natsServer(right.issue(t))
	ca := map[string]string{}
	trust := func(name string, a *authority) {
		ca[name] = o.path(name, "ca.pem")
		must(t, os.WriteFile(ca[name], a.pem, 0o644))
	}
	for _, name := range o.names {
		trust(name, right)
	}
	trust("c", wrong)
	o.edit = func(c *config.Daemon) { c.NATS = config.NATS{URLs: []string{url}, CA: ca[c.Operator]} }
	o.write("example.", 1, "www A 192.0.2.10")
	o.startAll()
	reason := func(name string) string {
		st, err := o.nodes[name].Status(t.Context())
		must(t, err)
		return st.Peers[0].Reason
	}
	o.eventually(20*time.Second, "c says that it does not know the CA", func() bool {
		r := reason("c")
		return strings.Contains(r, "not connected to the NATS servers") && strings.Contains(r, "certificate signed by unknown authority")
	})
	o.eventually(20*time.Second, "a and b are linked", func() bool { return o.nodes["a"].isReady("b") && o.nodes["b"].isReady("a") })
	if o.nodes["a"].isReady("c") {
		t.Error("c is linked although it trusts another CA")
	}

	o.stop("c")
	trust("c", right)
	o.start("c")
	o.add("example.")
	o.level("example.", 0)

	// Without the file the system's CAs count, which do not know it either.
	o.stop("c")
	ca["c"] = ""
	o.start("c")
	o.eventually(20*time.Second, "c says that it does not know the CA", func() bool {
		return strings.Contains(reason("c"), "certificate signed by unknown authority")
	})
}

// What cannot be a file of CAs is said when the daemon starts.
func TestNATSFileOfCAs(t *testing.T) {
	o := newOperators(t, 3, 1)
	cfg := o.config("a")
	cfg.NATS = config.NATS{URLs: []string{"tls://127.0.0.1:1"}, CA: cfg.Identity}
	for file, want := range map[string]string{cfg.Identity: "expected certificates in PEM", o.path("missing"): "no such file"} {
		cfg.NATS.CA = file
		n, err := Start(t.Context(), cfg, Options{Logger: o.logger("a")})
		if err == nil {
			n.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "nats.ca: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", file, err, want)
		}
	}
}
