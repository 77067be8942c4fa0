# source.sh: sourced by build.sh and verify.sh; gets Debian's kernel source.

# A pattern, not a version: Debian drops old versions from its archive.
package=linux-source-6.12

die() {
	echo "guest kernel: $1" >&2
	exit "${2:-1}"
}

# need_tools says which Debian packages are missing.
need_tools() {
	missing=
	for pair in gcc-12:gcc-12 make:make flex:flex bison:bison bc:bc perl:perl \
		patch:patch objcopy:binutils lz4:lz4 xz:xz-utils dpkg-deb:dpkg; do
		command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
	done
	[ -e /usr/include/libelf.h ] || missing="$missing libelf-dev"
	[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
	[ -z "$missing" ] || die "not installed:$missing (run 'make setup')"
}

# fetch_source VERSION puts the package's .deb (newest if VERSION is empty)
# into the cache and its path into $deb. GUREUM_KERNEL_DEB names a local one,
# for a version that has left the archive. Exit 3: the archive lacks VERSION.
fetch_source() {
	deb=${GUREUM_KERNEL_DEB:-}
	if [ -n "$deb" ]; then
		[ -r "$deb" ] || die "GUREUM_KERNEL_DEB=$deb cannot be read"
		return
	fi
	offered=$(apt-cache madison "$package" | awk '{ print $3 }')
	[ -n "$offered" ] || die "the package lists do not have $package: run 'apt-get update' (Debian 12)"
	version=${1:-$(echo "$offered" | head -n1)}
	echo "$offered" | grep -qxF "$version" || gone "$version"
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/gureum/kernel-source
	mkdir -p "$cache"
	deb=$cache/${package}_${version}_all.deb
	# apt-get checks the signature of the archive; the list has the hash.
	want=$(apt-cache show "$package=$version" | awk '/^SHA256:/ { print $2; exit }')
	if [ "$(sha256sum 2>/dev/null <"$deb" | cut -d' ' -f1)" != "$want" ]; then
		rm -rf "$cache/new" && mkdir "$cache/new"
		(cd "$cache/new" && apt-get -q download "$package=$version" >&2) || die "apt-get download $package=$version failed"
		mv "$cache/new"/*.deb "$deb" && rmdir "$cache/new"
	fi
	[ "$(sha256sum <"$deb" | cut -d' ' -f1)" = "$want" ] || die "$deb does not have the hash that the archive states"
}

gone() {
	cat >&2 <<-TEXT
		guest kernel: the package archive no longer has $package $1.
		Its bits cannot be checked from the archive any more. To move on, either
		  make kernel                          build from the version offered now, test, commit; or
		  GUREUM_KERNEL_DEB=FILE make verify-kernel
		                                       with that version's .deb from elsewhere.
	TEXT
	exit 3
}

# unpack DIR unpacks $deb; sets $tree, $source_version, $source_date.
unpack() {
	mkdir -p "$1/deb"
	dpkg-deb -x "$deb" "$1/deb"
	tar -xJf "$1/deb/usr/src/$package.tar.xz" -C "$1"
	tree=$1/$package
	source_version=$(dpkg-deb -f "$deb" Version)
	source_date=$(zcat "$1/deb/usr/share/doc/$package/changelog.Debian.gz" | sed -n '/^ -- /{s/.*>  //p;q}')
	[ -n "$source_date" ] || die "$deb: its changelog has no date"
	rm -rf "$1/deb"
}

compiler() { gcc-12 --version | head -n1; }
linker() { ld --version | head -n1; }
sha256() { sha256sum <"$1" | cut -d' ' -f1; }
