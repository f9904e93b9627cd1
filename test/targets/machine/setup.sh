# Makes a small system of its own for the bad board out of the folder $1, with $2 as its /truth, and runs the rest in it. A
# command that a bad line has damaged finds nothing there that it could harm. Runs in name spaces for mounts and processes.
set -e
root=$1 truth=$2
shift 2
mount --bind "$root" "$root"
mount -t tmpfs -o mode=755 dev "$root/dev"
mkdir -m 1777 "$root/dev/shm"
for device in null zero tty urandom; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
for folder in tmp root run; do
  mount -t tmpfs -o mode=1777,size=64m tmp "$root/$folder"
done
mount -t proc proc "$root/proc"
mount --bind "$truth" "$root/truth"
mount -o remount,bind,ro "$root"
exec "$@"
