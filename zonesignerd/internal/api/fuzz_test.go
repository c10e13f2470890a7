package api

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// FuzzRequest sends any method, path and body: each gets an answer that is
// JSON, with an error's code where it is not a success.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/v1/zones/add", `{"policy":"version: 1","file":"f"}`)
	f.Add("POST", "/v1/keys/generate", `{"zone":"z.","roles":["KSK"]}`)
	f.Add("GET", "/v1/zones/a%2fb", "")
	f.Add("GET", "/v1/../v1/status", "")
	f.Add("POST", "/v1/zones/approve?zone=z.&file=f", "@ SOA")
	f.Add("GET", "/v1/signed/z.?serial=1", "")
	f.Add("GET", "/v1/manifest/z.?at=1", "")
	f.Add("POST", "/v1/manifest/z.?at=0", "@ SOA")
	routes := NewServer(echo{}, Access{}, nil).handler()
	f.Fuzz(func(t *testing.T, method, path, body string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) || method == "" {
			return
		}
		r := httptest.NewRequest(method, "/", strings.NewReader(body))
		r.URL = u
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller{uid: 0}))
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, r)
		if w.Code >= 300 && w.Code < 400 {
			return // to the path's clean form
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d %q", w.Code, w.Body)
		}
		var e errorBody
		if w.Code != 200 && (json.Unmarshal(w.Body.Bytes(), &e) != nil || e.Error == nil || e.Error.Code == "") {
			t.Fatalf("%d without an error: %q", w.Code, w.Body)
		}
	})
}
