package spec

import (
	"fmt"

	"github.com/gureum/gureum/vm"
)

// Background sets up the Config of a machine that nobody watches: what its console is,
// and whether an agent is waited for. Prepare comes first.
func (p *Plan) Background() error {
	c := &p.Config
	command := len(p.spec.Command) > 0
	switch {
	case p.Image != nil && command && !p.Image.Agent:
		return fmt.Errorf("a command in image %s: it holds no guest agent: build it where gureum-agent is beside gureum, or leave out the command", p.Image.Name)
	case p.Image != nil:
		c.OwnAgent, c.NoUserLand = p.Image.Agent, true
	case c.Initrd != "" && !command:
		c.NoUserLand = true
	default:
		c.Agent = true
		return nil
	}
	c.Terminal, c.Verbose = vm.TerminalAuto, true
	return nil
}
