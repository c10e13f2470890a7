package api

import (
	"encoding/hex"

	"zonesigner/zonesignerd/config"
)

// DescribeGroup is the wire form of a group file. self, which may be empty,
// is this operator's name.
func DescribeGroup(g *config.Group, self string) Group {
	digest := g.Digest()
	d := Group{
		Name: g.Name, Epoch: g.Epoch, Threshold: g.Threshold, Engine: g.Engine,
		Digest: hex.EncodeToString(digest[:]), Fingerprint: config.Fingerprint(digest),
		Operators: []Operator{}, SignerSets: []string{},
	}
	for _, o := range g.Operators {
		d.Operators = append(d.Operators, Operator{Name: o.Name, NKey: o.NKey, Address: o.Address, Self: o.Name == self})
	}
	for _, s := range g.Sets(g.Engine) {
		d.SignerSets = append(d.SignerSets, s.String())
	}
	return d
}
