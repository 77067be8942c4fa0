package vswitch

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers. A register of 16 bytes is four of 4; a concatenation is what is in
// consecutive ones.
const (
	reg1  = unix.NFT_REG_1
	reg2  = unix.NFT_REG_2
	reg32 = unix.NFT_REG32_00 // the first of the small ones; reg1 begins with it
)

// match is a sequence of expressions. One that cannot be evaluated, as a field beyond
// the end of a frame, ends the rule without a verdict; so rules accept, and what is
// left is dropped.
type match []expr.Any

func (m match) and(more ...match) match {
	out := append(match(nil), m...)
	for _, x := range more {
		out = append(out, x...)
	}
	return out
}

func all(parts ...match) match { return match(nil).and(parts...) }

func verdict(kind expr.VerdictKind) match { return match{&expr.Verdict{Kind: kind}} }

var (
	accept = func() match { return verdict(expr.VerdictAccept) }
	drop   = func() match { return verdict(expr.VerdictDrop) }
)

func jump(chain string) match {
	return match{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}
}

func meta(k expr.MetaKey, reg uint32) match { return match{&expr.Meta{Key: k, Register: reg}} }

// eq, neq, between and mask are about reg1.
func eq(data ...byte) match {
	return match{&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: data}}
}

func neq(data ...byte) match {
	return match{&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: data}}
}

func between(low, high byte) match {
	return match{
		&expr.Cmp{Op: expr.CmpOpGte, Register: reg1, Data: []byte{low}},
		&expr.Cmp{Op: expr.CmpOpLte, Register: reg1, Data: []byte{high}},
	}
}

// mask ands a register with a value of its length.
func mask(m ...byte) match {
	return match{&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: uint32(len(m)), Mask: m, Xor: make([]byte, len(m))}}
}

func load(base expr.PayloadBase, offset, length, reg uint32) match {
	return match{&expr.Payload{DestRegister: reg, Base: base, Offset: offset, Len: length}}
}

// ll, nh and th load bytes of the Ethernet, network and transport header.
func ll(offset, length, reg uint32) match {
	return load(expr.PayloadBaseLLHeader, offset, length, reg)
}

func nh(offset, length, reg uint32) match {
	return load(expr.PayloadBaseNetworkHeader, offset, length, reg)
}

func th(offset, length, reg uint32) match {
	return load(expr.PayloadBaseTransportHeader, offset, length, reg)
}

func in(set string) match {
	return match{&expr.Lookup{SourceRegister: reg1, SetName: set}}
}

func notIn(set string) match {
	return match{&expr.Lookup{SourceRegister: reg1, SetName: set, Invert: true}}
}

func iif() match           { return meta(expr.MetaKeyIIFNAME, reg1) }
func oif(reg uint32) match { return meta(expr.MetaKeyOIFNAME, reg) }

// fromUs and toUs are interfaces of ours, whatever they are.
func fromUs() match    { return iif().and(eq([]byte(Prefix)...)) }
func toUs() match      { return oif(reg1).and(eq([]byte(Prefix)...)) }
func notFromUs() match { return iif().and(neq([]byte(Prefix)...)) }
func notToUs() match   { return oif(reg1).and(neq([]byte(Prefix)...)) }

// proto is the protocol above IP, for IPv6 that after all extension headers.
func proto(p byte) match { return meta(expr.MetaKeyL4PROTO, reg1).and(eq(p)) }

func family(f byte) match { return meta(expr.MetaKeyNFPROTO, reg1).and(eq(f)) }

func etherType(hi, lo byte) match { return ll(12, 2, reg1).and(eq(hi, lo)) }

// whole6 is a packet without a fragment header.
func whole6() match {
	return match{&expr.Exthdr{
		DestRegister: reg1, Type: unix.IPPROTO_FRAGMENT, Len: 1, Op: expr.ExthdrOpIpv6, Flags: unix.NFT_EXTHDR_F_PRESENT,
	}}.and(eq(0))
}

// later6 is a fragment that is not the first of its packet.
func later6() match {
	return match{&expr.Exthdr{
		DestRegister: reg1, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6,
	}}.and(mask(0xff, 0xf8), neq(0, 0))
}

// local is a destination that is an address of this host.
func local() match {
	return match{&expr.Fib{Register: reg1, FlagDADDR: true, ResultADDRTYPE: true}}.
		and(eq(unix.RTN_LOCAL, 0, 0, 0)) // in the byte order of the host
}

// known is a connection that was let through when it began.
func known() match {
	return ctBits(expr.CtKeySTATE, byte(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED))
}

// translated is a connection whose destination was (IPS_DST_NAT,
// linux/netfilter/nf_conntrack_common.h).
func translated() match { return ctBits(expr.CtKeySTATUS, 1<<5) }

func ctBits(k expr.CtKey, bits byte) match {
	return match{&expr.Ct{Key: k, Register: reg1}}.and(mask(bits, 0, 0, 0), neq(0, 0, 0, 0))
}
