package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/api"
)

type initOptions struct {
	name, address, listen string
	state, run            string
	hidden, public        string
	owner                 string
}

func (a *app) initCommand() *cobra.Command {
	defaults := config.DefaultDaemon("", "", "")
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init --name NAME --address HOST:PORT DIR",
		Short: "Make an operator's identity, keys to its disk and configuration",
		Long: `Make DIR with this operator's identity (identity.seed), the key that its
keystore is sealed with (keystore.key), a configuration in which every option
is explained (zonesignerd.yaml), and examples of the other two files.

On standard output comes the one line to give to the other operators: name,
public key and address. "zonesignerd group make" makes the group file from
everyone's lines. DIR must not exist: nothing is ever overwritten.`,
		Example: `  zonesignerd init --name a --address signer.a.example:7473 /etc/zonesigner
  zonesignerd init --name a --address 192.0.2.1:7473 --owner zonesigner /etc/zonesigner`,
		Args: between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.init(o, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "this operator's `name` in the group")
	f.StringVar(&o.address, "address", "", "`host:port` at which the other operators reach this one")
	f.StringVar(&o.listen, "listen", "", "`host:port` to listen on (default all addresses, the port of --address)")
	f.StringVar(&o.state, "state", defaults.State, "`directory` of keys and signed zones")
	f.StringVar(&o.run, "run", defaults.Run, "`directory` that a reboot empties; the command socket is there")
	f.StringVar(&o.hidden, "hidden", defaults.Knot.Hidden, "control `socket` of the Knot with the unsigned zones")
	f.StringVar(&o.public, "public", defaults.Knot.Public, "control `socket` of the Knot with the signed zones")
	f.StringVar(&o.owner, "owner", "", "`user` who will own the files, when root makes them")
	return cmd
}

func (a *app) init(o initOptions, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	seed, nkey, err := config.NewIdentity()
	if err != nil {
		return err
	}
	// The line that the others will read is checked as they will check it.
	self, err := config.ParseLine(o.name + " " + nkey + " " + o.address)
	if err != nil {
		return usageError("--name and --address: %w", err)
	}
	if o.listen == "" {
		o.listen = "0.0.0.0" + o.address[strings.LastIndexByte(o.address, ':'):]
	}
	files, err := initFiles(o, dir, seed)
	if err != nil {
		return err
	}
	if err := writeNew(dir, files, o.owner); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			api.Operator
			Directory string `json:"directory"`
		}{api.Operator{Name: self.Name, NKey: self.NKey, Address: self.Address}, dir})
	}
	fmt.Fprintf(a.err, "made %s; give the line below to the other operators\n", dir)
	a.printf("%s", self.Line())
	return nil
}

type newFile struct {
	name string
	mode fs.FileMode
	text []byte
}

func initFiles(o initOptions, dir string, seed []byte) ([]newFile, error) {
	keystoreKey := make([]byte, 32)
	if _, err := rand.Read(keystoreKey); err != nil {
		return nil, err
	}
	keyFile := filepath.Join(dir, "keystore.key")
	c := config.DefaultDaemon(o.name, keyFile, o.listen)
	c.Identity, c.Group = filepath.Join(dir, "identity.seed"), filepath.Join(dir, "group.yaml")
	c.State, c.Run, c.Knot.Hidden, c.Knot.Public = absolute(o.state), absolute(o.run), absolute(o.hidden), absolute(o.public)
	c.Socket.Path = filepath.Join(c.Run, filepath.Base(config.DefaultSocket))
	daemon, err := config.FormatDaemon(c)
	if err != nil {
		return nil, err
	}
	if _, err := config.ParseDaemon("zonesignerd.yaml", daemon); err != nil {
		return nil, err
	}
	policy, err := config.FormatPolicy(config.DefaultPolicy("example.org."))
	if err != nil {
		return nil, err
	}
	group, err := config.FormatGroup(&config.Group{Name: "example", Epoch: 1, Threshold: 1, Engine: config.MalShamir,
		Operators: []config.Operator{{Name: "a", NKey: "U...", Address: "signer.a.example:7473"}}})
	if err != nil {
		return nil, err
	}
	return []newFile{
		{"identity.seed", 0o600, seed},
		{"keystore.key", 0o600, []byte(hex.EncodeToString(keystoreKey) + "\n")},
		{"zonesignerd.yaml", 0o644, daemon},
		{"policy.example.yaml", 0o644, policy},
		{"group.example.yaml", 0o644, group},
	}, nil
}

// absolute is what a shell user means by a path on the command line.
func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return abs
}

// writeNew makes dir with the files, whole or not at all.
func writeNew(dir string, files []newFile, owner string) error {
	exists := &fs.PathError{Op: "init", Path: dir, Err: errors.New("exists already: nothing is overwritten")}
	if _, err := os.Lstat(dir); err == nil {
		return exists
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".zonesigner-init-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp) // after the rename there is nothing left of it
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if err := writeFile(filepath.Join(tmp, f.name), f.text, f.mode); err != nil {
			return err
		}
	}
	if owner != "" {
		if err := chown(tmp, files, owner); err != nil {
			return err
		}
	}
	err = unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, dir, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		return exists
	}
	if err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	return nil
}

// writeFile writes a file that must not exist, durably.
func writeFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // a part of it would be in the way of the next try
	}
	return nil
}

func chown(dir string, files []newFile, owner string) error {
	u, err := user.Lookup(owner)
	if err != nil {
		return usageError("--owner: %w", err)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Chown(filepath.Join(dir, f.name), uid, gid); err != nil {
			return err
		}
	}
	return os.Chown(dir, uid, gid)
}
