package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gureum/gureum/fleet"
	"github.com/gureum/gureum/fleet/state"
)

// sshOptions are the flags of gureum ssh.
type sshOptions struct {
	user     string
	identity []string
	options  []string
	port     uint16
	wait     time.Duration
}

func newSSHCommand(s Streams) *cobra.Command {
	var o sshOptions
	cmd := &cobra.Command{
		Use:   "ssh [flags] [USER@]MACHINE [COMMAND [ARG...]]",
		Short: "Log into a machine by ssh",
		Long: `Ssh runs this host's ssh client on a machine's ssh server. It needs no address and no
network: the connection goes by the machine's vsock, to a server that listens there or by
the guest's agent, else by its address on a network. The machine's host key is taken at
the first connection and remembered with the machine; another one later is refused. A
guest that is not up yet is waited for, as long as --wait says.

Without a terminal ssh never asks. The user is --user, else the one that gureum run
--user made, else as ssh has it; Debian's images have the user debian.

Exit status: the command's own; 255 if ssh failed or the guest did not come up; 125 if
the machine does not run; 69 if this host has no ssh.`,
		Example: "  gureum ssh debian@web\n  gureum ssh -i ~/.ssh/id_ed25519 web uptime\n  gureum ssh -o ForwardAgent=yes --user admin web",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			fl, err := openFleet()
			if err != nil {
				return err
			}
			return fleetError(o.run(cmd.Context(), s, fl, args))
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVarP(&o.user, "user", "l", "", "log in as this `USER`")
	f.StringArrayVarP(&o.identity, "identity", "i", nil, "private key `FILE`; repeatable (default: ssh's own)")
	f.StringArrayVarP(&o.options, "option", "o", nil, "an `OPTION` of ssh_config(5), NAME=VALUE; repeatable")
	f.Uint16VarP(&o.port, "port", "p", 22, "the server's port in the guest")
	f.DurationVar(&o.wait, "wait", time.Minute, "how long to wait for the guest's server, a `DURATION`")
	return cmd
}

func (o *sshOptions) run(ctx context.Context, s Streams, fl *fleet.Fleet, args []string) error {
	ref := args[0]
	if o.port == 0 || o.wait <= 0 {
		return &statusError{StatusUsage, errors.New("port and wait: give more than 0")}
	}
	if user, machine, is := strings.Cut(ref, "@"); is {
		o.user, ref = user, machine
	}
	m, err := fl.Get(ref)
	if err != nil {
		return err
	}
	client, err := exec.LookPath("ssh")
	if err != nil {
		return &statusError{StatusHost, fmt.Errorf("this host has no ssh client: %w: install openssh-client", err)}
	}
	if len(running([]*fleet.Machine{m})) == 0 {
		return fmt.Errorf("%s: %w: gureum start %s", m.Name, fleet.ErrNotRunning, m.Name)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	interactive := s.In != nil && term.IsTerminal(int(s.In.Fd()))
	cmd := exec.CommandContext(ctx, client, append(o.arguments(fl, m, self, interactive), args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	cmd.Env = append(os.Environ(), state.EnvState+"="+fl.Dirs.State, state.EnvRun+"="+fl.Dirs.Run)
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code > 0 {
			return exitError(code)
		}
	}
	return err
}

// arguments are those of ssh(1), to the machine's name.
func (o *sshOptions) arguments(fl *fleet.Fleet, m *fleet.Machine, self string, interactive bool) []string {
	proxy := []string{self, proxyCommand, "--wait", o.wait.String(), m.ID, strconv.Itoa(int(o.port))}
	for i := range proxy {
		proxy[i] = proxyQuote(proxy[i])
	}
	known := filepath.Join(fl.Dirs.VMDir(m.ID), "known_hosts")
	args := []string{
		"-o", "ProxyCommand=" + strings.Join(proxy, " "),
		"-o", "UserKnownHostsFile=" + optionQuote(known),
		"-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "StrictHostKeyChecking=accept-new",
		"-o", "HostKeyAlias=" + m.ID,
		"-o", "CheckHostIP=no",
		"-o", "UpdateHostKeys=no",
		"-o", fmt.Sprintf("ConnectTimeout=%d", int(o.wait.Seconds())+30),
		"-o", "ServerAliveInterval=15",
		"-o", "LogLevel=ERROR",
	}
	if !interactive {
		args = append(args, "-o", "BatchMode=yes")
	}
	for _, file := range o.identity {
		args = append(args, "-i", file)
	}
	for _, option := range o.options {
		args = append([]string{"-o", option}, args...) // the first value counts (ssh_config(5))
	}
	user := o.user
	if user == "" {
		user = m.Spec.User
	}
	if user != "" {
		args = append(args, "-l", user)
	}
	return append(args, "--", m.Name)
}

// proxyQuote quotes a word of ProxyCommand, which a shell reads after ssh has replaced
// its tokens.
func proxyQuote(word string) string {
	return "'" + strings.ReplaceAll(strings.ReplaceAll(word, "'", `'\''`), "%", "%%") + "'"
}

// optionQuote quotes a file of UserKnownHostsFile, which ssh cuts at spaces.
func optionQuote(path string) string {
	return `"` + strings.ReplaceAll(strings.ReplaceAll(path, "%", "%%"), `"`, `\"`) + `"`
}

// proxyCommand is the hidden command that is ssh's connection to a guest.
const proxyCommand = "ssh-proxy"

func newSSHProxyCommand(s Streams) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:     proxyCommand + " MACHINE [PORT]",
		Short:   "Connect standard input and output to a port of a guest",
		Example: "  ssh -o 'ProxyCommand=gureum ssh-proxy web' debian@web",
		Hidden:  true,
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			port := uint64(22)
			if len(args) == 2 {
				var err error
				if port, err = strconv.ParseUint(args[1], 10, 16); err != nil || port == 0 {
					return fmt.Errorf("%q is no port: give a number from 1 to 65535", args[1])
				}
			}
			fl, err := openFleet()
			if err != nil {
				return err
			}
			return fleetError(proxy(cmd.Context(), s, fl, args[0], uint16(port), wait))
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 15*time.Second, "how long to wait for somebody at the port, a `DURATION`")
	return cmd
}

func proxy(ctx context.Context, s Streams, fl *fleet.Fleet, ref string, port uint16, wait time.Duration) error {
	conn, err := fl.AwaitConnect(ctx, ref, port, wait)
	if err != nil {
		return err
	}
	defer conn.Close()
	in, err := newInput(s.In)
	if err != nil {
		return err
	}
	defer in.Close()
	go func() {
		_, _ = io.Copy(conn, in)
		if c, is := conn.(interface{ CloseWrite() error }); is {
			_ = c.CloseWrite()
		}
	}()
	_, err = io.Copy(s.Out, conn)
	return err
}
