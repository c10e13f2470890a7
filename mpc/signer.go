package mpc

import (
	"context"

	"zonesigner/mpc/p256"
)

// ABB is the extended arithmetic black box (Figures 2 and 3 of the paper)
// over shares of type S, one share for each value. Every call takes and
// returns slices, and is one round for the whole batch, so callers batch.
//
// Shares are values: no method keeps or changes a slice it was given. The
// linear part is local. An engine is made for one session and is not safe for
// concurrent use, except through the Fork that pipelined chunks use.
type ABB[S any] interface {
	// Random returns n sharings of values that nobody knows.
	Random(ctx context.Context, n int) ([]S, error)
	// Mul returns sharings of the products. Until Check has passed they may
	// be wrong by an amount that the adversary knows.
	Mul(ctx context.Context, xs, ys []S) ([]S, error)
	// Open reveals the values to all parties of the session.
	Open(ctx context.Context, xs []S) ([]p256.Scalar, error)
	// OpenPoints reveals x·G for each x: Open(Convert(x)).
	OpenPoints(ctx context.Context, xs []S) ([]p256.Point, error)
	// Check verifies everything multiplied so far. It must pass before a
	// value leaves the box; it does nothing in a passive engine.
	Check(ctx context.Context) error

	// Add, Sub and Scale are the local, linear part.
	Add(x, y S) S
	Sub(x, y S) S
	Scale(x S, c p256.Scalar) S
}

// Signature is r then s, 32 bytes each, big-endian, leading zeros kept: the
// form of RFC 6605, section 4.
type Signature [64]byte

// PoolID names a pool of tuples, which belong to one signer set. They are
// bound to one key, or, with Unbound in its place, good for every key of an
// engine once they are bound to it. Stripe is the party that may propose to
// spend them, so that sessions side by side never choose the same.
type PoolID struct {
	Key    KeyID
	Set    string // SignerSet.String()
	Stripe PartyID
}

// Unbound stands in a PoolID for the keys of an engine: no key has this id.
func Unbound(engine string) KeyID { return KeyID("unbound/" + engine) }

// ChunkID is the SHA-256 of the preprocessing transcript of a chunk as it was
// received: every product, commitment and masked opening (the view digest).
// A tuple's id is its chunk's id and its index; there is no counter.
type ChunkID [32]byte

// Chunk is what one preprocessing round made: Count tuples in one opaque
// blob that holds this party's shares.
type Chunk struct {
	ID    ChunkID
	Count int
	Blob  []byte // secret
}

// TupleRange names consecutive tuples of one chunk.
type TupleRange struct {
	Chunk ChunkID `json:"chunk"`
	From  int     `json:"from"`
	Count int     `json:"count"`
}

// PoolChunk is a chunk and the pool that it belongs to.
type PoolChunk struct {
	Pool PoolID
	Chunk
}

// PoolRange is a range of tuples and the pool that they are in.
type PoolRange struct {
	Pool PoolID
	TupleRange
}

// TupleStore keeps tuples durably. It is implemented over the keystore.
type TupleStore interface {
	// Add stores all chunks or none. They are durable when Add returns.
	Add(chunks []PoolChunk) error
	// Spend durably marks all ranges as spent by statement, or none of them,
	// and returns the blob of each range's chunk (all of it; the caller uses
	// the range alone) and this operator's generation mark after the
	// spending. A range that is spent, even in part, or a chunk that is not
	// there, is an error. Tuples before a range are burned with it.
	Spend(ranges []PoolRange, statement [32]byte) (blobs [][]byte, mark Mark, err error)
}

// Mark is an operator's generation mark: a number that grows with every
// spending. Peers keep the newest they saw of each operator, with its
// signature, so that a restored disk is found out.
type Mark struct {
	Generation uint64
}

// Identity signs for this operator and verifies for the others, with the
// operators' Ed25519 keys.
type Identity interface {
	Self() PartyID
	Sign(msg []byte) []byte
	// Verify reports whether sig is from's signature on msg.
	Verify(from PartyID, msg, sig []byte) bool
}

// SignSession is what the members of Set have agreed to sign together: for one
// or many keys, all of one engine, in one session.
type SignSession struct {
	ID       SessionID
	Set      SignerSet
	Stripe   PartyID // whose tuples are spent
	Requests []SignRequest
	// Agreed says that every member of Set is known to want this session, so
	// that the members need not compare what they came for. Only a caller may
	// set it that holds each member's signed acceptance of one proposal, from
	// which Set, Stripe and Requests follow at every honest member alike, and
	// whose ID is the hash of these acceptances (docs/protocol.md, section 6).
	Agreed bool
}

// SignRequest is what is signed with one key for one manifest, all agreed on
// beforehand.
type SignRequest struct {
	Key      KeyID
	Manifest [32]byte     // SHA-256 of the agreed manifest
	Tuples   []TupleRange // in order; their counts add up to Len or more
	Messages [][]byte     // hashed inside, with the key's hash

	// Of many messages it need not hold all at once: without Messages there are
	// Count of them, and AppendMessage appends the i-th to dst, always the same.
	Count         int
	AppendMessage func(dst []byte, i int) []byte
}

// Len is how many messages there are.
func (r *SignRequest) Len() int {
	if r.Messages != nil {
		return len(r.Messages)
	}
	return r.Count
}

// messages are n of them, from the i-th on.
func (r *SignRequest) messages(i, n int) [][]byte {
	if r.Messages != nil {
		return r.Messages[i : i+n]
	}
	buf, ends := make([]byte, 0, 128*n), make([]int, n)
	for j := range ends {
		buf = r.AppendMessage(buf, i+j)
		ends[j] = len(buf)
	}
	out, from := make([][]byte, n), 0
	for j, end := range ends {
		out[j], from = buf[from:end:end], end
	}
	return out
}

// Signer is what the pipeline uses: threshold signing by whatever protocol
// the keys were made for.
type Signer interface {
	// Prepare makes n tuples bound to key for set and stores them in
	// stripe's pool. All parties of the group take part. progress, which may
	// be nil, is told how many are stored.
	Prepare(ctx context.Context, net Network, key KeyID, set SignerSet, stripe PartyID, n int, progress func(done int)) error
	// Sign returns one verified signature for each message of each request,
	// in order, each a valid signature under its key; nothing that fails
	// leaves. Members of s.Set alone take part.
	Sign(ctx context.Context, net Network, s SignSession, progress func(done int)) ([][]Signature, error)
}
