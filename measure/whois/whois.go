// Package whois asks who an address is registered to (RFC 3912). Servers answer
// in no common form and take few questions; so a client asks slowly, remembers
// what it was told by network, and takes the first line that looks like an
// organisation's name.
package whois

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// DefaultServer refers to the registries of all addresses.
	DefaultServer = "whois.iana.org:43"
	// DefaultRate is how many questions a second all servers are asked
	// together.
	DefaultRate = 0.5

	timeout     = 10 * time.Second
	maxReply    = 64 << 10
	maxReferral = 3
	maxOwner    = 120 // bytes of a name that is kept
)

// A Cache remembers owners by network. It is used by one goroutine at a time.
type Cache interface {
	Get(key string) (owner string, ok bool)
	Put(key, owner string) error
}

// Client asks WHOIS servers. It is safe for concurrent use, and asks one
// question at a time.
type Client struct {
	Server string  // host:port; referrals from it are followed
	Rate   float64 // questions a second
	Cache  Cache

	mu   sync.Mutex
	next time.Time
}

// Owner is the organisation that addr is registered to, "" where the servers
// name none. What a server says that refers to another is of the registry, not
// of the address. Errors are of the network, and of a server that does not
// answer or refuses to; they are not remembered.
func (c *Client) Owner(ctx context.Context, addr netip.Addr) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := network(addr)
	if owner, ok := c.Cache.Get(key); ok {
		return owner, nil
	}
	server, owner := c.Server, ""
	for range maxReferral {
		reply, err := c.ask(ctx, server, addr.String())
		if err != nil {
			return "", fmt.Errorf("whois %s: %w", server, err)
		}
		name, refer := read(reply)
		if name == "" && refer == "" {
			if line := refusal(reply); line != "" {
				return "", fmt.Errorf("whois %s: %s", server, line)
			}
		}
		if refer == "" || refer == server {
			owner = name
			break
		}
		server = refer
	}
	return owner, c.Cache.Put(key, owner)
}

// network is the /24 or /48 around an address: registries assign nothing
// smaller to those who run name servers of their own.
func network(addr netip.Addr) string {
	bits := 24
	if addr.Is6() {
		bits = 48
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return addr.String()
	}
	return p.String()
}

// ask waits for its turn and sends one question.
func (c *Client) ask(ctx context.Context, server, question string) (string, error) {
	if wait := time.Until(c.next); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	c.next = time.Now().Add(time.Duration(float64(time.Second) / c.Rate))
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", server)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := io.WriteString(conn, question+"\r\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(conn, maxReply))
	if err == nil && len(b) == 0 {
		err = errors.New("empty answer")
	}
	return string(b), err
}

// ownerFields are what registries call the organisation, the best first: ARIN;
// RIPE, AFRINIC, APNIC; LACNIC; and names of networks for want of better.
var ownerFields = []string{"orgname", "org-name", "organization", "organisation", "owner", "descr", "netname"}

// read finds the organisation in an answer, and the server that knows better.
func read(reply string) (owner, refer string) {
	best := len(ownerFields)
	lines := bufio.NewScanner(strings.NewReader(reply))
	for lines.Scan() {
		field, value, ok := strings.Cut(lines.Text(), ":")
		if !ok || strings.HasPrefix(field, "%") || strings.HasPrefix(field, "#") {
			continue
		}
		field, value = strings.ToLower(strings.TrimSpace(field)), clean(value)
		switch {
		case value == "":
		case field == "refer" || field == "whois" || field == "referralserver":
			refer = serverOf(value)
		default:
			for i, f := range ownerFields[:best] {
				if f == field {
					owner, best = value, i
				}
			}
		}
	}
	return owner, refer
}

// refusal is the line by which a server says that it will not answer, "" where
// there is none: an error of RIPE's numbered form other than 101, that there is
// no entry, or what others write of limits.
func refusal(reply string) string {
	for line := range strings.Lines(reply) {
		line = clean(line)
		lower := strings.ToLower(line)
		if strings.HasPrefix(lower, "%error:") && !strings.HasPrefix(lower, "%error:101") {
			return line
		}
		for _, words := range []string{"limit exceeded", "query rate", "too many", "access denied", "quota exceeded"} {
			if strings.Contains(lower, words) {
				return line
			}
		}
	}
	return ""
}

// serverOf reads whois://host:port, host:port or host.
func serverOf(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if !strings.EqualFold(scheme, "whois") {
			return "" // rwhois, http: another protocol
		}
		s = rest
	}
	s = strings.TrimRight(s, "/")
	if strings.ContainsAny(s, "/ @") || s == "" {
		return ""
	}
	if _, _, err := net.SplitHostPort(s); err != nil {
		s = net.JoinHostPort(strings.Trim(s, "[]"), "43")
	}
	return s
}

// clean makes a value fit to keep and to print.
func clean(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, ""), func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	for len(s) > maxOwner {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}
