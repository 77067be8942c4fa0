package vswitch

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Bounds of a batch.
const (
	// socketBuffer is that of the netlink socket in bytes: a batch is one message of it,
	// and every command is acknowledged.
	socketBuffer = 16 << 20
	// perMessage keeps a list of elements below 64 KiB, the length of an attribute.
	perMessage = 400
)

// table is one of ours as it shall be.
type table struct {
	nftables.Table
	sets    []setKind
	chains  []chain
	version string // in the comment of each rule
}

func tables() []table {
	bridge, inet := bridgeChains(), inetChains()
	return []table{
		{bridgeTable, bridgeSets(), bridge, digest(bridge)},
		{inetTable, inetSets(), inet, digest(inet)},
	}
}

func (t *table) kind(set string) *nftables.Set {
	i := slices.IndexFunc(t.sets, func(k setKind) bool { return k.name == set })
	return t.sets[i].set(&t.Table)
}

// firewall is a connection to nftables.
type firewall struct {
	conn   *nftables.Conn
	tables []table
	// messages and elements count what was sent, for tests.
	messages int
}

func openFirewall() (*firewall, error) {
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *nl.Conn) error {
		return errors.Join(c.SetWriteBuffer(socketBuffer), c.SetReadBuffer(socketBuffer))
	}))
	if err != nil {
		return nil, fmt.Errorf("connect to nftables: %w", err)
	}
	return &firewall{conn: conn, tables: tables()}, nil
}

func (f *firewall) close() error { return f.conn.CloseLasting() }

func (f *firewall) flush(what string) error {
	if err := f.conn.Flush(); err != nil {
		return fmt.Errorf("nftables: %s: %w", what, err)
	}
	return nil
}

// exists tells which of our tables are there.
func (f *firewall) exists() ([]bool, error) {
	there := make([]bool, len(f.tables))
	for i, t := range f.tables {
		list, err := f.conn.ListTablesOfFamily(t.Family)
		if err != nil {
			return nil, fmt.Errorf("nftables: list the tables: %w", err)
		}
		there[i] = slices.ContainsFunc(list, func(o *nftables.Table) bool { return o.Name == t.Name })
	}
	return there, nil
}

// current tells whether the rules are those of this program, in full. A table without
// sets or rules, or one of another version, is not.
func (f *firewall) current() (bool, error) {
	there, err := f.exists()
	if err != nil || slices.Contains(there, false) {
		return false, err
	}
	for i := range f.tables {
		same, err := f.tableCurrent(&f.tables[i])
		if err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func (f *firewall) tableCurrent(t *table) (bool, error) {
	chains, err := f.conn.ListChainsOfTableFamily(t.Family)
	if err != nil {
		return false, fmt.Errorf("nftables: list the chains: %w", err)
	}
	for _, want := range t.chains {
		found := slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
			return c.Table.Name == t.Name && c.Name == want.name
		})
		if !found {
			return false, nil
		}
		if same, err := f.chainCurrent(t, want); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

func (f *firewall) chainCurrent(t *table, want chain) (bool, error) {
	rules, err := f.conn.GetRules(&t.Table, &nftables.Chain{Name: want.name, Table: &t.Table})
	if err != nil {
		return false, fmt.Errorf("nftables: list the rules of %s: %w", want.name, err)
	}
	return slices.EqualFunc(rules, want.rules, func(have *nftables.Rule, want rule) bool {
		return bytes.Equal(have.UserData, comment(t.version, want))
	}), nil
}

// quick looks at the tables' first chain only, for what happens at every start. It sees a
// flush, and another version.
func (f *firewall) quick() (bool, error) {
	there, err := f.exists()
	if err != nil || slices.Contains(there, false) {
		return false, err
	}
	for i := range f.tables {
		t := &f.tables[i]
		if same, err := f.chainCurrent(t, t.chains[0]); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// comment is what nft prints beside a rule. It tells versions apart.
func comment(version string, r rule) []byte {
	return userdata.AppendString(nil, userdata.TypeComment, r.why+" ["+version+"]")
}

// build queues what makes a table: fresh and empty, or what there is with new rules
// about the same elements. Either takes effect at once, as all of a batch.
func (f *firewall) build(t *table, fresh bool) error {
	f.conn.AddTable(&t.Table)
	if fresh {
		f.conn.DelTable(&t.Table)
		f.conn.AddTable(&t.Table)
	}
	for _, k := range t.sets {
		if err := f.conn.AddSet(k.set(&t.Table), nil); err != nil {
			return fmt.Errorf("nftables: set %s: %w", k.name, err)
		}
	}
	policy := nftables.ChainPolicyAccept
	made := map[string]*nftables.Chain{}
	for _, c := range t.chains {
		k := &nftables.Chain{Name: c.name, Table: &t.Table}
		if c.hook != nil {
			k.Hooknum, k.Type, k.Priority, k.Policy = c.hook, c.kind, nftables.ChainPriorityRef(c.priority), &policy
		}
		made[c.name] = f.conn.AddChain(k)
		if !fresh {
			f.conn.FlushChain(k)
		}
	}
	for _, c := range t.chains {
		for _, r := range c.rules {
			f.conn.AddRule(&nftables.Rule{Table: &t.Table, Chain: made[c.name], Exprs: r.then, UserData: comment(t.version, r)})
		}
	}
	return nil
}

// ensure makes the tables if they are missing or of another version.
func (f *firewall) ensure() error {
	current, err := f.quick()
	if err != nil || current {
		return err
	}
	for i := range f.tables {
		if err := f.build(&f.tables[i], false); err != nil {
			return err
		}
	}
	return f.flush("make the rules")
}

// replace makes everything anew, in one batch.
func (f *firewall) replace(elements []element) error {
	for i := range f.tables {
		if err := f.build(&f.tables[i], true); err != nil {
			return err
		}
	}
	if err := f.queue(elements, f.conn.SetAddElements); err != nil {
		return err
	}
	return explain(f.flush("make the rules"))
}

// remove deletes our tables, those that are there.
func (f *firewall) remove() error {
	there, err := f.exists()
	if err != nil {
		return err
	}
	for i := range f.tables {
		if there[i] {
			f.conn.DelTable(&f.tables[i].Table)
		}
	}
	return f.flush("delete the rules")
}

// change removes elements and adds others, in one batch.
func (f *firewall) change(gone, come []element) error {
	if err := f.queue(gone, f.conn.SetDeleteElements); err != nil {
		return err
	}
	if err := f.queue(come, f.conn.SetAddElements); err != nil {
		return err
	}
	return explain(f.flush("change the ports"))
}

// explain says what the kernel means.
func explain(err error) error {
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("a host port that is to be published is published already: %w", err)
	}
	return err
}

// queue puts elements into as few messages as there are sets.
func (f *firewall) queue(elements []element, do func(*nftables.Set, []nftables.SetElement) error) error {
	for i := range f.tables {
		t := &f.tables[i]
		for _, k := range t.sets {
			var list []nftables.SetElement
			for _, e := range elements {
				if e.set == k.name && e.bridge == (t.Family == nftables.TableFamilyBridge) {
					list = append(list, nftables.SetElement{Key: e.key, Val: e.val})
				}
			}
			for part := range slices.Chunk(list, perMessage) {
				f.messages++
				if err := do(k.set(&t.Table), part); err != nil {
					return fmt.Errorf("nftables: set %s: %w", k.name, err)
				}
			}
		}
	}
	return nil
}

// have reads all elements of a set.
func (f *firewall) have(bridge bool, set string) ([]element, error) {
	t := &f.tables[1]
	if bridge {
		t = &f.tables[0]
	}
	list, err := f.conn.GetSetElements(t.kind(set))
	if err != nil {
		return nil, fmt.Errorf("nftables: read the set %s: %w", set, err)
	}
	var out []element
	for _, e := range list {
		out = append(out, element{bridge: bridge, set: set, key: e.Key, val: e.Val})
	}
	return out, nil
}

// haveAll reads all sets.
func (f *firewall) haveAll() ([]element, error) {
	var out []element
	for _, t := range f.tables {
		for _, k := range t.sets {
			list, err := f.have(t.Family == nftables.TableFamilyBridge, k.name)
			if err != nil {
				return nil, err
			}
			out = append(out, list...)
		}
	}
	return out, nil
}

// ofPort finds what there is about a port: what names it, and what is about the
// addresses that it has.
func ofPort(list []element, tap string) (found []element, addresses []netip.Addr) {
	name := key(tap)
	for _, e := range list {
		if !bytes.HasPrefix(e.key, name) || !e.bridge && e.set != setPorts {
			continue
		}
		found = append(found, e)
		if e.set == setIP4 || e.set == setIP6 {
			if a, ok := netip.AddrFromSlice(e.key[len(name):]); ok && !a.IsLinkLocalUnicast() {
				addresses = append(addresses, a)
			}
		}
	}
	for _, e := range list {
		for _, a := range addresses {
			if e.about(a) {
				found = append(found, e)
			}
		}
	}
	return found, addresses
}

// about tells whether an element of the inet table is there for a guest's address.
func (e element) about(a netip.Addr) bool {
	b := a.AsSlice()
	switch e.set {
	case setGuests4, setGuests6:
		return bytes.Equal(e.key, b)
	case setMembers4, setMembers6:
		return bytes.Equal(e.key[unix.IFNAMSIZ:], b)
	case mapPublish4, mapPublishAny4, mapPublish6, mapPublishAny6:
		return len(e.val) == len(b)+4 && bytes.HasPrefix(e.val, b)
	}
	return false
}

// ofBridge finds what there is about a network, but for its ports.
func ofBridge(list []element, bridge string) []element {
	var found []element
	for _, e := range list {
		if !e.bridge && e.set != setPorts && len(e.key) >= unix.IFNAMSIZ && bytes.HasPrefix(e.key, key(bridge)) {
			found = append(found, e)
		}
	}
	return found
}

// without is what of a is not in b.
func without(a, b []element) []element {
	there := make(map[string]bool, len(b))
	for _, e := range b {
		there[e.id()] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(e element) bool { return there[e.id()] })
}

// id tells elements apart.
func (e element) id() string { return fmt.Sprintf("%v %s %x %x", e.bridge, e.set, e.key, e.val) }
