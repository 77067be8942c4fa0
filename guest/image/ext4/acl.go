package ext4

import "fmt"

// POSIX ACLs as getxattr(2) gives them (linux/posix_acl_xattr.h) and as ext4 keeps them
// (fs/ext4/acl.h): there, only entries for a named user or group have an id.
const (
	aclGiven      = 2 // version of the former
	aclKept       = 1 // version of the latter
	aclGivenEntry = 8
	aclTagUser    = 0x02
	aclTagGroup   = 0x08
	aclMaxEntries = 256
)

// newXattr begins an attribute: an ACL is complete after it, any other lacks its name.
func newXattr(name, v string) (x xattr, err error) {
	switch name {
	case "system.posix_acl_access":
		x.index = 2
	case "system.posix_acl_default":
		x.index = 3
	default:
		return xattr{value: v}, nil
	}
	p := []byte(v)
	if len(p) < 4 || le.Uint32(p) != aclGiven || (len(p)-4)%aclGivenEntry != 0 || (len(p)-4)/aclGivenEntry > aclMaxEntries {
		return x, fmt.Errorf("extended attribute %s: no POSIX ACL", name)
	}
	out := le.AppendUint32(nil, aclKept)
	for p = p[4:]; len(p) > 0; p = p[aclGivenEntry:] {
		out = append(out, p[:4]...)
		if tag := le.Uint16(p); tag == aclTagUser || tag == aclTagGroup {
			out = append(out, p[4:8]...)
		}
	}
	x.value = string(out)
	return x, nil
}
