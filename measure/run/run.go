// Package run measures a whole list of domains into a directory.
//
// A run can be killed at any moment and gone on with: what is in the store is
// done, and everything else is measured again (Store). It keeps a copy of its
// list and its settings, so that the second half is measured as the first was.
package run

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"zonesigner/measure"
	"zonesigner/measure/list"
	"zonesigner/measure/operator"
	"zonesigner/measure/resolve"
)

// Options say what to run. Without Resume a run is new, and its directory must
// hold none; with it the settings of the run in the directory count, and of
// these options only Dir, Concurrency, Rate and those that follow it.
type Options struct {
	Dir    string
	Resume bool

	List      string // file
	Resolvers []netip.AddrPort
	Roots     []netip.Addr // for resolving iteratively, when there are no Resolvers; none: IANA's
	Resolve   resolve.Config
	Aliases   string // file, added to the shipped table
	WhoisTop  int    // ask WHOIS for domains of up to this rank
	Whois     string // server, host:port
	WhoisRate float64

	Concurrency int
	Program     string // name and version, for the record
	// Progress, when there is one, is called about once a second.
	Progress func(Progress)
	// Fault is told what goes wrong on the way.
	Fault func(Fault)
}

// Progress is how far a run is.
type Progress struct {
	Done, Total int
	Rate        float64       // domains a second in this session
	Left        time.Duration // until all are done, at this rate
	Classes     [measure.Unknown + 1]int
}

// DefaultConcurrency is how many domains are under way at a time.
const DefaultConcurrency = 1000

// ErrExists is when a new run would go where one is.
var ErrExists = errors.New("the directory holds a run")

// Run measures until all of the list is done or the context ends; then what is
// done stays, and the error is the context's. With an error after which the run
// can be gone on with there is a Meta, too.
func Run(ctx context.Context, o Options) (*Meta, error) {
	if o.Concurrency <= 0 {
		o.Concurrency = DefaultConcurrency
	}
	m, err := prepare(&o)
	if err != nil {
		return nil, err
	}
	store, err := openStore(o.Dir)
	if err != nil {
		return nil, err
	}
	r := &runner{o: o, meta: m, store: store}
	err = r.run(ctx)
	return m, errors.Join(err, store.Close())
}

// prepare makes a new run's files, or reads those that are there.
func prepare(o *Options) (*Meta, error) {
	m, err := LoadMeta(o.Dir)
	switch {
	case err == nil && !o.Resume:
		return nil, fmt.Errorf("%s: %w", o.Dir, ErrExists)
	case err == nil:
		return m, takeSettings(o, m)
	case !errors.Is(err, fs.ErrNotExist) || o.Resume:
		return nil, err
	}
	_, err = os.Stat(o.Dir)
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(o.Dir, 0o755); err != nil {
		return nil, err
	}
	m, err = newRun(o)
	if err != nil && made {
		err = errors.Join(err, os.RemoveAll(o.Dir)) // there is nothing in it but the beginnings of a run that cannot be
	}
	return m, err
}

// newRun makes a run's files in a directory that holds no run.json.
func newRun(o *Options) (*Meta, error) {
	if _, err := os.Stat(filepath.Join(o.Dir, resultsFile)); err == nil {
		return nil, fmt.Errorf("%s: %w, without its %s", o.Dir, ErrExists, metaFile)
	}
	table, err := aliases(o.Dir, o.Aliases, true)
	if err != nil {
		return nil, err
	}
	info, err := importList(o.Dir, o.List)
	if err != nil {
		return nil, err
	}
	m := &Meta{Format: 1, List: info, Started: time.Now().UTC(), Faults: map[string]int{}, Settings: Settings{
		Timeout: o.Resolve.Timeout, Try: o.Resolve.Try, NoIPv6: o.Resolve.NoIPv6, Port: o.Resolve.Port, Private: o.Resolve.Private,
		Suffixes: operator.SuffixVersion(), Aliases: table.Version, WhoisTop: o.WhoisTop, Whois: o.Whois,
	}}
	for _, a := range o.Resolvers {
		m.Settings.Resolvers = append(m.Settings.Resolvers, a.String())
	}
	for _, a := range o.Roots {
		m.Settings.Roots = append(m.Settings.Roots, a.String())
	}
	for kind, n := range info.Faults {
		m.Faults[string(kind)] = n
	}
	return m, m.save(o.Dir)
}

// takeSettings puts those of a run that is gone on with into o, and notes when
// the list has changed since.
func takeSettings(o *Options, m *Meta) error {
	s := &m.Settings
	o.Resolve.Timeout, o.Resolve.Try, o.Resolve.NoIPv6, o.Resolve.Port, o.Resolve.Private = s.Timeout, s.Try, s.NoIPv6, s.Port, s.Private
	o.WhoisTop, o.Whois = s.WhoisTop, s.Whois
	o.Resolvers, o.Roots = nil, nil
	for _, text := range s.Resolvers {
		a, err := netip.ParseAddrPort(text)
		if err != nil {
			return fmt.Errorf("%s: %w", metaFile, err)
		}
		o.Resolvers = append(o.Resolvers, a)
	}
	for _, text := range s.Roots {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("%s: %w", metaFile, err)
		}
		o.Roots = append(o.Roots, a)
	}
	if m.Faults == nil {
		m.Faults = map[string]int{}
	}
	return nil
}

// aliasFile is the run's copy of the file that --aliases names.
const aliasFile = "aliases.tsv"

// aliases is the shipped table with a file added: of a new run the one that is
// named, if any, of which dir keeps a copy, otherwise that copy.
func aliases(dir, file string, fresh bool) (*operator.Table, error) {
	t := operator.Default()
	own := filepath.Join(dir, aliasFile)
	if fresh && file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(own, b, 0o644); err != nil {
			return nil, err
		}
	}
	if fresh && file == "" {
		if err := os.Remove(own); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	f, err := os.Open(own)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	if fresh {
		return t, t.Extend(file, f)
	}
	return t, t.Extend(aliasFile, f)
}

// runner is one session of a run.
type runner struct {
	o     Options
	meta  *Meta
	store *Store
	m     *Measurer

	faultMu sync.Mutex
	faults  *bufio.Writer
	told    int

	done    atomic.Int64 // since the session began
	classes [measure.Unknown + 1]atomic.Int64
}

func (r *runner) run(ctx context.Context) (err error) {
	file, err := os.OpenFile(filepath.Join(r.o.Dir, faultsFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	r.faults = bufio.NewWriter(file)
	defer func() { err = errors.Join(err, r.faults.Flush()) }()
	done, count, err := r.store.done(r.meta.List.Domains)
	if err != nil {
		return err
	}
	counted, err := r.store.faults()
	if err != nil {
		return err
	}
	for kind, n := range counted { // of a session that was killed
		r.meta.Faults[kind] = max(r.meta.Faults[kind], n)
	}
	r.compareList()
	r.compareVersions()
	if count > 0 {
		err := r.store.Each(func(s Summary) error {
			if s.Class <= measure.Unknown {
				r.classes[s.Class].Add(1)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if count == r.meta.List.Domains && !r.meta.Finished.IsZero() {
		return nil
	}
	r.meta.Sessions = append(r.meta.Sessions, Session{Program: r.o.Program, Started: time.Now().UTC(), Done: count, Concurrency: r.o.Concurrency,
		Rate: r.o.Resolve.Rate, ServerRate: r.o.Resolve.ServerRate, ResolverRate: r.o.Resolve.ResolverRate, WhoisRate: r.o.WhoisRate})
	if err := r.meta.save(r.o.Dir); err != nil {
		return err
	}
	table, err := aliases(r.o.Dir, "", false)
	if err != nil {
		return err
	}
	r.o.Resolve.Event = func(kind, text string) { r.fault(kind, text) }
	if r.m, err = NewMeasurer(ctx, r.o, table, r.store); err != nil {
		return err
	}
	defer r.m.Close()
	err = r.all(ctx, done, count)
	session := &r.meta.Sessions[len(r.meta.Sessions)-1]
	session.Ended = time.Now().UTC()
	stats := r.m.client.Stats()
	session.Queries = &stats
	if err == nil {
		r.meta.Finished = session.Ended
	}
	r.faultMu.Lock()
	defer r.faultMu.Unlock()
	return errors.Join(err, r.meta.save(r.o.Dir))
}

// compareList notes that the list is not what it was when the run began. The
// run goes on with its own copy.
func (r *runner) compareList() {
	path := r.o.List
	if path == "" {
		path = r.meta.List.Path
	}
	switch sum, err := list.Sum(path); {
	case err != nil:
		r.fault("list-gone", fmt.Sprintf("%v; the run goes on with its own copy", err))
	case sum != r.meta.List.SHA256:
		r.fault("list-changed", fmt.Sprintf("%s has SHA-256 %s, had %s when the run began, which goes on with its own copy", path, sum, r.meta.List.SHA256))
	}
}

// compareVersions notes that what the program knows is not what it was when
// the run began: from here on domains are classified by the new.
func (r *runner) compareVersions() {
	s := &r.meta.Settings
	table, _, _ := strings.Cut(s.Aliases, " ") // what follows is the run's own
	for _, v := range []struct{ what, was, is string }{
		{"table of aliases", table, operator.Default().Version},
		{"public suffix list", s.Suffixes, operator.SuffixVersion()},
	} {
		if v.was != v.is {
			r.fault("version-changed", fmt.Sprintf("the %s was %q when the run began, and is %q for what follows", v.what, v.was, v.is))
		}
	}
}

// fault names and counts what went wrong.
func (r *runner) fault(kind, text string) {
	r.faultMu.Lock()
	r.meta.Faults[kind]++
	r.faultMu.Unlock()
	r.tell(kind, text)
}

// tell names what went wrong, which a result counts.
func (r *runner) tell(kind, text string) {
	f := Fault{Time: time.Now().UTC(), Kind: kind, Text: text}
	r.faultMu.Lock()
	defer r.faultMu.Unlock()
	if r.told++; r.told <= maxFaults {
		b, _ := json.Marshal(f) // strings and a time can be written
		r.faults.Write(append(b, '\n'))
		_ = r.faults.Flush() // it remembers, and the last one tells
	}
	if r.o.Fault != nil {
		r.o.Fault(f)
	}
}

// item is a domain that is to be measured.
type item struct {
	number int
	entry  list.Entry
}

// looked is a domain of which all is known that its verdict needs.
type looked struct {
	item
	*finding
	faults []string // kinds of what went wrong with it
}

// all measures what is not done: a reader of the list, workers, some that judge
// what these find, one goroutine that writes. Workers do nothing but look, so
// that their stacks, of which there are thousands, stay small. Domains whose
// operators are asked for over WHOIS wait apart, so that they do not hold up the
// rest.
func (r *runner) all(ctx context.Context, done []uint64, count int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	items := make(chan item)
	late := make(chan looked, max(0, min(r.o.WhoisTop, maxLate)))
	found := make(chan looked)
	results := make(chan result, 64)
	var reading, working, asking, judging sync.WaitGroup
	reading.Go(func() {
		defer close(items)
		err := readList(r.o.Dir, func(n int, e list.Entry) error {
			if done[n/64]&(1<<(n%64)) != 0 {
				return nil
			}
			return send(ctx, items, item{n, e})
		})
		if err != nil {
			cancel(err)
		}
	})
	for range r.o.Concurrency {
		working.Go(func() {
			for i := range items {
				f, err := r.m.look(ctx, i.entry.Name)
				if err == nil {
					next := found
					if r.m.wantsOwners(i.entry.Rank, f) {
						next = late
					}
					err = send(ctx, next, looked{item: i, finding: f})
				}
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	for range whoisWorkers {
		asking.Go(func() {
			for l := range late {
				err := r.m.owners(ctx, l.finding)
				if ctx.Err() != nil {
					continue // not final: the next session asks again
				}
				if err != nil {
					l.faults = append(l.faults, "whois")
					r.tell("whois", fmt.Sprintf("%s: %v", l.entry.Name, err))
				}
				_ = send(ctx, found, l) // or the context has ended
			}
		})
	}
	for range runtime.GOMAXPROCS(0) {
		judging.Go(func() {
			for l := range found {
				res, err := l.result()
				if err == nil {
					err = send(ctx, results, res)
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	go func() {
		working.Wait()
		close(late)
		asking.Wait()
		close(found)
		judging.Wait()
		close(results)
	}()
	err := r.write(ctx, results, count)
	if err != nil {
		cancel(err)
		for range results { // let those who are stuck go
		}
	}
	reading.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// send puts v into c unless the context ends before.
func send[T any](ctx context.Context, c chan<- T, v T) error {
	select {
	case c <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// result is the verdict, as it is stored.
func (l looked) result() (result, error) {
	rec := l.Record(l.entry)
	line, err := json.Marshal(rec)
	return result{number: l.number, line: line, summary: Summarise(rec), faults: l.faults}, err
}

const (
	whoisWorkers = 4      // wait for WHOIS servers
	maxLate      = 10_000 // domains that wait for them, beside those that workers hold
)

// Batches of results are made to last when they are so many or so old.
const (
	batchSize = 1000
	batchAge  = 500 * time.Millisecond
)

// write stores results until there are no more, also those that come after the
// context has ended.
func (r *runner) write(ctx context.Context, results <-chan result, before int) error {
	began := time.Now()
	tick := time.NewTicker(batchAge)
	defer tick.Stop()
	reported := began
	var batch []measure.Class // of the results that were added since
	var kinds []string        // of faults that came with them
	var stored map[string]int
	put := func() error {
		r.faultMu.Lock()
		for _, kind := range kinds {
			r.meta.Faults[kind]++
		}
		faults := maps.Clone(r.meta.Faults)
		r.faultMu.Unlock()
		if maps.Equal(faults, stored) {
			faults = nil
		} else {
			stored = faults
		}
		if err := r.store.commit(faults); err != nil {
			return fmt.Errorf("%s: %w", r.o.Dir, err)
		}
		for _, class := range batch {
			r.classes[class].Add(1)
		}
		r.done.Add(int64(len(batch)))
		batch, kinds = batch[:0], kinds[:0]
		return nil
	}
	for {
		select {
		case res, ok := <-results:
			if !ok {
				err := put()
				r.report(began, before)
				return err
			}
			if err := r.store.add(res); err != nil {
				return fmt.Errorf("%s: %w", r.o.Dir, err)
			}
			kinds = append(kinds, res.faults...)
			if batch = append(batch, res.summary.Class); len(batch) < batchSize {
				continue
			}
		case <-tick.C:
		}
		if err := put(); err != nil {
			return err
		}
		if time.Since(reported) >= time.Second && ctx.Err() == nil {
			reported = time.Now()
			r.report(began, before)
		}
	}
}

func (r *runner) report(began time.Time, before int) {
	if r.o.Progress == nil {
		return
	}
	p := Progress{Done: before + int(r.done.Load()), Total: r.meta.List.Domains}
	p.Rate = float64(r.done.Load()) / time.Since(began).Seconds()
	if p.Rate > 0 {
		p.Left = time.Duration(float64(p.Total-p.Done) / p.Rate * float64(time.Second))
	}
	for c := range r.classes {
		p.Classes[c] = int(r.classes[c].Load())
	}
	r.o.Progress(p)
}
