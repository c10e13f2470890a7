package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"zonesigner/keystore"
	"zonesigner/zonesignerd/config"
	"zonesigner/zonesignerd/internal/node"
)

func (a *app) keystoreCommand() *cobra.Command {
	return parent(&cobra.Command{Use: "keystore", Short: "Back up, restore and reseal the keystore"},
		a.keystoreBackupCommand(), a.keystoreRestoreCommand(), a.keystoreResealCommand())
}

func (a *app) keystoreBackupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write the running daemon's shares and records to a new file",
		Long: `Write the shares of the keys, and the daemon's records, to a new file. The
daemon does it while it runs, because the file is its alone and signing need
not stop for a backup.

The file is sealed as the keystore is: it is worth nothing without the sealing
key, which needs a backup of its own, in another place. It holds neither
tuples nor the marks of other operators: nothing in it can be spent. Make one
after each key ceremony; between them nothing changes that could not be lost.`,
		Example: "  zonesignerd keystore backup /srv/backup/zonesigner-2026-11-20.db",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			b, err := c.Backup(cmd.Context())
			if err != nil {
				return err
			}
			if err := writeFile(args[0], b.File, 0o600); err != nil {
				return err
			}
			return a.keystoreDone(args[0], fmt.Sprintf("wrote %d bytes, sealed with the keystore's own key", len(b.File)))
		},
	}
}

// keystoreDone says what came of a command on a keystore's file.
func (a *app) keystoreDone(file, text string) error {
	if a.json {
		return a.printJSON(struct {
			File   string `json:"file"`
			Result string `json:"result"`
		}{file, text})
	}
	a.printf("%s: %s", file, text)
	return nil
}

func (a *app) keystoreRestoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the keystore from a backup, while no daemon runs",
		Long: `Make the keystore of the configuration's state directory from a backup, with
the sealing key that the configuration names, which has to be the backup's. A
keystore that is there is never touched: move it away first.

The keystore begins without tuples; they are made anew when all operators are
there. Policies and the group are those of the backup's day: status says what
the others have that is not here, and what to do, until both are level. Run it
as the user that the daemon runs as, so that the files are its own.`,
		Example: "  zonesignerd keystore restore /srv/backup/zonesigner-2026-11-20.db\n  systemctl start zonesignerd",
		Args:    between(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := config.LoadDaemon(a.configPath())
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			dir, opt := node.Keystore(cfg)
			s, err := keystore.Restore(dir, f, opt)
			if err != nil {
				return err
			}
			keys, err := s.Keys()
			err = errors.Join(err, node.NoteRestored(s, "a backup", a.now()))
			if err := errors.Join(err, s.Close()); err != nil {
				return err
			}
			return a.keystoreDone(filepath.Join(dir, keystore.FileName), "restored with "+plural(len(keys), "key")+"; see `zonesignerd status` for what it lacks, once the daemon runs")
		},
	}
}

func (a *app) keystoreResealCommand() *cobra.Command {
	var keyFile, passphraseFile string
	cmd := &cobra.Command{
		Use:   "reseal --key-file FILE | --passphrase-file FILE",
		Short: "Seal the keystore with another key, while no daemon runs",
		Long: `Seal the keystore with another key: the old one, which the configuration
names, opens it no longer. A key file that does not exist is made. Afterwards
name the new one in the configuration, start the daemon, and make a new
backup: older ones stay sealed with the old key. The old key is worth keeping
only as long as they are.

For a systemd credential give the key file that the credential is made from.
When the present key is a credential, $CREDENTIALS_DIRECTORY has to name a
directory that holds it. Run it as the user that the daemon runs as.`,
		Example: `  zonesignerd keystore reseal --key-file /etc/zonesigner/keystore-2.key
  zonesignerd keystore reseal --passphrase-file /etc/zonesigner/passphrase`,
		Args: between(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (keyFile == "") == (passphraseFile == "") {
				return usageError("%s: want one of --key-file and --passphrase-file", cmd.CommandPath())
			}
			cfg, err := config.LoadDaemon(a.configPath())
			if err != nil {
				return err
			}
			return a.reseal(cfg, keyFile, passphraseFile)
		},
	}
	cmd.Flags().StringVar(&keyFile, "key-file", "", "`file` with the new key; made if there is none")
	cmd.Flags().StringVar(&passphraseFile, "passphrase-file", "", "`file` with the new passphrase on its first line")
	return cmd
}

func (a *app) reseal(cfg *config.Daemon, keyFile, passphraseFile string) error {
	dir, opt := node.Keystore(cfg)
	s, err := keystore.Open(dir, opt)
	if err != nil {
		return err
	}
	defer s.Close()
	src, key := keystore.PassphraseFile(passphraseFile), "keystore.passphrase-file: "+absolute(passphraseFile)
	if keyFile != "" {
		if _, err := os.Lstat(keyFile); errors.Is(err, os.ErrNotExist) {
			if err := keystore.NewKeyFile(keyFile); err != nil {
				return err
			}
		}
		src, key = keystore.KeyFile(keyFile), "keystore.key-file: "+absolute(keyFile)
	}
	if err := s.Reseal(src); err != nil {
		return err
	}
	return a.keystoreDone(filepath.Join(dir, keystore.FileName), "sealed anew; set "+key+" in "+a.configPath())
}
