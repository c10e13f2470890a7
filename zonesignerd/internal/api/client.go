package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// maxAnswer bounds what is read of one answer: the status of some 10,000
// zones has about 10 MB.
const maxAnswer = 128 << 20

// Client is the Backend at the other end of a socket.
type Client struct {
	socket string
	http   *http.Client
}

var _ Backend = (*Client)(nil)

// NewClient is a client of the daemon at socket. It connects with each
// request anew, so that nothing is held open between them.
func NewClient(socket string) *Client {
	var d net.Dialer
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

func (c *Client) Version(ctx context.Context) (*Version, error) {
	return get[*Version](ctx, c, "version", nil)
}

func (c *Client) Status(ctx context.Context) (*Status, error) {
	return get[*Status](ctx, c, "status", nil)
}

func (c *Client) Zones(ctx context.Context) ([]ZoneStatus, error) {
	return get[[]ZoneStatus](ctx, c, "zones", nil)
}

func (c *Client) Zone(ctx context.Context, zone string) (*ZoneDetail, error) {
	return get[*ZoneDetail](ctx, c, "zones/"+segment(zone), nil)
}

func (c *Client) AddZone(ctx context.Context, a AddZone) (*Request, error) {
	return post[*Request](ctx, c, "zones/add", a)
}

func (c *Client) RemoveZone(ctx context.Context, r RemoveZone) (*Request, error) {
	return post[*Request](ctx, c, "zones/remove", r)
}

func (c *Client) SignNow(ctx context.Context, s SignNow) (*Request, error) {
	return post[*Request](ctx, c, "zones/sign", s)
}

func (c *Client) ApproveZone(ctx context.Context, a ApproveZone) (*Request, error) {
	return do[*Request](ctx, c, http.MethodPost, "zones/approve?"+url.Values{"zone": {a.Zone}, "file": {a.File}}.Encode(), a.Text)
}

func (c *Client) SignedZone(ctx context.Context, zone string, serial uint32, w io.Writer) error {
	return c.copy(ctx, w, "the signed zone", http.MethodGet, fmt.Sprintf("signed/%s?serial=%d", segment(zone), serial), nil)
}

func (c *Client) Manifest(ctx context.Context, d Draft, w io.Writer) error {
	method := http.MethodGet
	if d.Text != nil {
		method = http.MethodPost
	}
	return c.copy(ctx, w, "the manifest", method, fmt.Sprintf("manifest/%s?at=%d", segment(d.Zone), d.At), d.Text)
}

// copy writes an answer that is not JSON to w as it comes.
func (c *Client) copy(ctx context.Context, w io.Writer, what, method, path string, body io.Reader) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return c.unreachable(err)
		}
		return refused(resp, answer)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (c *Client) Keys(ctx context.Context, zone string) ([]Key, error) {
	return get[[]Key](ctx, c, "keys", url.Values{"zone": {zone}})
}

func (c *Client) GenerateKeys(ctx context.Context, g GenerateKeys) (*Request, error) {
	return post[*Request](ctx, c, "keys/generate", g)
}

func (c *Client) ImportKeys(ctx context.Context, i ImportKeys) (*Request, error) {
	return post[*Request](ctx, c, "keys/import", i)
}

func (c *Client) ConfirmDS(ctx context.Context, d ConfirmDS) (*Request, error) {
	return post[*Request](ctx, c, "keys/ds", d)
}

func (c *Client) ResumeKey(ctx context.Context, r ResumeKey) (*Request, error) {
	return post[*Request](ctx, c, "keys/resume", r)
}

func (c *Client) Pools(ctx context.Context, zone string) ([]Pool, error) {
	return get[[]Pool](ctx, c, "pools", url.Values{"zone": {zone}})
}

func (c *Client) Group(ctx context.Context) (*Group, error) {
	return get[*Group](ctx, c, "group", nil)
}

func (c *Client) StageGroup(ctx context.Context, s StageGroup) (*Request, error) {
	return post[*Request](ctx, c, "group/stage", s)
}

func (c *Client) Request(ctx context.Context, digest string) (*Request, error) {
	return get[*Request](ctx, c, "requests/"+segment(digest), nil)
}

func (c *Client) Reload(ctx context.Context) (*Reload, error) {
	return post[*Reload](ctx, c, "reload", nil)
}

func (c *Client) Backup(ctx context.Context) (*Backup, error) {
	return post[*Backup](ctx, c, "keystore/backup", nil)
}

// pollInterval is how often Wait asks.
const pollInterval = 250 * time.Millisecond

// Wait asks for the request until it is finished, and tells progress, which
// may be nil, each time something changed. When ctx ends first it returns the
// last answer and ctx's error. A request that failed is its error.
func Wait(ctx context.Context, b Backend, r *Request, progress func(*Request)) (*Request, error) {
	for {
		if progress != nil {
			progress(r)
		}
		if r.State == RequestFailed && r.Error != nil {
			return r, r.Error
		}
		if r.Finished() {
			return r, nil
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(pollInterval):
		}
		next, err := b.Request(ctx, r.Digest)
		if err != nil {
			if ctx.Err() != nil {
				return r, ctx.Err()
			}
			return r, err
		}
		r = next
	}
}

func get[R any](ctx context.Context, c *Client, path string, query url.Values) (R, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return do[R](ctx, c, http.MethodGet, path, nil)
}

func post[R any](ctx context.Context, c *Client, path string, arg any) (R, error) {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(arg); err != nil {
		var none R
		return none, err
	}
	return do[R](ctx, c, http.MethodPost, path, &body)
}

func do[R any](ctx context.Context, c *Client, method, path string, body io.Reader) (R, error) {
	var result R
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return result, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return result, c.unreachable(err)
	}
	if resp.StatusCode != http.StatusOK {
		return result, refused(resp, answer)
	}
	// Unknown fields are let pass: a newer daemon may say more.
	if err := json.Unmarshal(answer, &result); err != nil {
		return result, Errorf(CodeFailure, "the daemon's answer is not as expected: %w", err)
	}
	return result, nil
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	// The host is a filler: HTTP wants one, the socket has none.
	req, err := http.NewRequestWithContext(ctx, method, "http://zonesignerd/v1/"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	return resp, nil
}

// refused is the error in an answer.
func refused(resp *http.Response, answer []byte) error {
	var e errorBody
	if json.Unmarshal(answer, &e) != nil || e.Error == nil {
		return Errorf(CodeFailure, "the daemon answered %q", resp.Status)
	}
	return e.Error
}

// unreachable says in words why there was no answer.
func (c *Client) unreachable(err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from the daemon at %s: %w", c.socket, err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Error{
			Code:    CodeFailure,
			Message: "no daemon answers at " + c.socket,
			Hint:    "start it with `systemctl start zonesignerd`, or name its socket with --socket",
		}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Code: CodeForbidden, Message: "you may not connect to " + c.socket}
	}
	return fmt.Errorf("no answer from the daemon at %s: %w", c.socket, err)
}
