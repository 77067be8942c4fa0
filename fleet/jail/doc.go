// Package jail takes from the process of a machine all that it does not need, before the
// guest's first instruction.
//
//	parent:  Config.Attr, Cgroup, SetLimits  --clone+exec-->  child
//	child:   open everything -> Enter -> threads of vCPUs -> EnterVCPU -> guest
//
// Package fleet calls it, in the parent and in the child. What it takes: the host's files
// (own mount namespace, another root), its processes (pid namespace), its network, users
// and capabilities, the rest of the kernel's interface (seccomp, Landlock), and more than a
// share of the host (cgroup, rlimits). docs/security.md says what that is good for.
//
// It never opens what the machine uses, never gives anything back, and keeps no state: a
// cgroup is found again by its name.
package jail
