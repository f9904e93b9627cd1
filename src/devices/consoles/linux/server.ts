/**
 * The program that runs on a Linux board during a build: POSIX shell with `dd`, `tr`, `wc`, one of the checksum programs, and one of the
 * encoders. It reads requests from the console, and answers as framing.ts describes.
 *
 * A request is one line, `KEY VERB TOKEN A B C D A B C D`. In a damaged one the two copies differ; it gets no answer, and the host
 * repeats it. Every request can be repeated without harm. `dd` reads the lines of a block, since a shell would read them byte by
 * byte; a terminal gives `dd` one line at a time. Empty lines make up for lost ones.
 *
 * | verb | does |
 * |---|---|
 * | `d` | takes the next A lines as the block TOKEN: encoded bytes, each line after a `#`, so that a shell would ignore it |
 * | `e` | completes the block with checksum C: runs it, once, if A is `x`; else writes it to the file A at unit B, and starts that as the job if D is 1 |
 * | `o` | sends output: drops the segments before A, then sends at most D frames of C units from segment A, unit B on |
 * | `O` | the same, with frames in eight bits |
 * | `g`, `G` | does the same with the file that `g` links to |
 * | `k` | sends signal A to the job's processes, once they are there: the job may only just start |
 * | `p` | answers that it is there |
 * | `q` | ends the program |
 *
 * `full` is the answer when it can't write to its folder, and `unread` when it can't read what it should send.
 */

/** Of a segment of output, and of the segments that wait on the board for the host. */
const maxSegmentBytes = 16_384;
const maxSegments = 16;

/** The programs that it can encode with; one of them has to be there. */
export const encoders = ["base64", "od", "hexdump", "xxd", "uuencode"] as const;

/**
 * Starts as `sh FOLDER/s CHECKSUM-PROGRAM KEY`, and as `sh FOLDER/s run SCRIPT` to start a job: in a new folder, after it has removed what an
 * earlier run left. A pump collects the job's output in segments, which go once the host has them: a flood waits instead of filling the
 * board's memory. The exit code stays in a file. Options that bash passes on in SHELLOPTS, such as noclobber, would break it and the job's
 * script, so it ends them. It contains no single quotes.
 */
export const serverProgram = `set +Cu;T=\${0%/*}
if [ "$1" = run ];then
R=run.$2;rm -rf "$T"/run "$T"/run.* "$T"/[bg].* "$T/g" "$T/q";mkdir "$T/$R"||exit 1
mv "$T/$2" "$T/$R/j"||exit 1
echo $R >"$T/run";R=$T/$R
: >"$R/fine"
Z(){ sleep 0.1 2>/dev/null||sleep 1;}
P(){ n=0
sh -c "echo \\$PPID" >"$R/pump"
while [ -d "$R" ];do
while [ -e "$R/$((n-${maxSegments}))" ];do Z;done
dd bs=${maxSegmentBytes} count=1 of="$R/$n" 2>/dev/null||rm -f "$R/fine"
if [ ! -s "$R/$n" ];then [ -e "$R/fine" ]&&break;Z;[ -e "$R/code" ]&&break;continue;fi
[ -e "$R/over" ]&&exec cat >/dev/null
: >"$R/$n.k";n=$((n+1))
done
: >"$R/end";}
J="unset T C K R PS1 PS2 ENV;exec sh \\"\\$0/j\\""
set -m 2>/dev/null
( set +m 2>/dev/null
if setsid true 2>/dev/null;then
{ setsid sh -c "echo \\$\\$ >\\"\\$0/job\\";$J" "$R" 2>&1;echo $? >"$R/code";}|P
else
sh -c "echo \\$PPID" >"$R/job"
{ sh -c "$J" "$R" 2>&1;echo $? >"$R/code";}|P
fi ) </dev/null >/dev/null 2>&1 &
exit 0
fi
C=$1;K=$2
G=$(stty -g 2>/dev/null)
trap "stty $G 2>/dev/null" 0
trap "exit 1" 1 2 3 15
stty icanon isig icrnl -echo -onlcr -ixon -iexten 2>/dev/null
stty susp undef 2>/dev/null
D(){ while read -r l;do printf %b "\${l#?}";done;}
I=octal;O=hex
if [ "$(echo "#QUE="|tr -d "#"|base64 -d)" = AA ] 2>/dev/null;then I=base64;O=base64
D(){ tr -d "#"|base64 -d;}
E(){ base64;}
elif od -An -v -tx1;then E(){ od -An -v -tx1;}
elif hexdump -v -e "/1 \\"%02x\\"";then E(){ hexdump -v -e "32/1 \\"%02x\\" \\"\\\\n\\"";}
elif xxd -p;then E(){ xxd -p;}
else O=base64
E(){ uuencode -m x;}
fi </dev/null >/dev/null 2>&1
s(){ printf "\\n~%s:%s:%s\\n" "$t" "$1" "$1";}
W(){ dd if="$0" of="$T/v" bs=64 count=1&&rm -f "$T/v";} 2>/dev/null
f(){ z=$(wc -c <"$1");z=$((z))
while [ $d -gt 0 ]&&[ $((b*64)) -lt $z ];do
dd if="$1" bs=64 skip=$b count=$c >"$T/f" 2>/dev/null||{ if W;then s unread;else s full;fi;return 1;}
x=$($C <"$T/f");x=$a:$b:$z:\${x%% *}
h="#";case $v in [OG])h=+;[ $(tr -d "\\000-\\177" <"$T/f"|wc -c) = 0 ]&&h="=";;esac
printf "\\n~%s%s%s\\n" "$t" $h "$x"
case $h in
"=")tr "\\000-\\177" "\\200-\\377" <"$T/f";echo;;
+)tr -cd "$N" <"$T/f"|tr "$N" a-k;echo;tr "$X" "$Y" <"$T/f";echo;;
*)E <"$T/f"
esac
printf "~%s.%s\\n" "$t" "$x"
b=$((b+c));d=$((d-1));done;}
J(){ [ "$d" = 0 ]&&return
{ read -r R <"$T/run";} 2>/dev/null
[ "$R" = "run.$a" ]||sh "$0" run "$a" </dev/null >/dev/null 2>&1;}
N="\\361-\\373"
X="\\000\\012\\015\\021\\023\\033\\074\\133\\176\\377$N"
Y="\\361-\\372\\373\\373\\373\\373\\373\\373\\373\\373\\373\\373\\373"
L="- - - - - - - -"
w=
x=$($C <"$0");t=$K;s "up:$I:$O:\${x%% *}"
while read -r k v t a b c d h i j m;do
[ "$k" = "$K" ]||continue
[ "$a $b $c $d" = "$h $i $j $m" ]||continue
case $v in
d)dd bs=4096 count="$a" >"$T/b.$t" 2>/dev/null;;
p)s ok;;
q)s bye;exit 0;;
e)case " $L " in *" $t "*)s ok;continue;;esac
if [ ! -e "$T/c.$t" ];then
D <"$T/b.$t" >"$T/q" 2>/dev/null
x=$($C <"$T/q");rm -f "$T/b.$t"
[ "\${x%% *}" = "$c" ]||{ if W;then s bad;else s full;fi;continue;}
if [ "$a" != x ];then
if dd if="$T/q" of="$T/$a" bs=64 seek=$b conv=notrunc 2>/dev/null&&J;then L="$t \${L% *}";s ok;else s full;fi
continue
fi
rm -f "$T"/[rxc].*
cat "$T/q" >"$T/r.$t"&&W||{ s full;continue;}
T=$T C=$C sh "$T/r.$t" >"$T/x.$t" 2>&1 </dev/null
echo $? >"$T/c.$t"
fi
a=0;b=0;c=8;d=99;y=;f "$T/x.$t"||continue
{ read -r y <"$T/c.$t";} 2>/dev/null;s "ran:$y:$z";;
[oO])read -r R <"$T/run";R=$T/$R
r=;i=\${w:-$((a>20?a-20:0))}
while [ $i -lt $a ];do r="$r $R/$i $R/$i.k";i=$((i+1));done
w=$a
[ -z "$r" ]||rm -f $r
y=wait
while [ $d -gt 0 ];do
e=;[ -e "$R/end" ]&&e=1
[ -e "$R/$a.k" ]||{ [ -z "$e" ]||y=end;break;}
f "$R/$a"||continue 2
[ $((b*64)) -lt $z ]&&break
a=$((a+1));b=0
done
[ $d -gt 0 ]||y=more
q=-;[ -e "$R/code" ]&&read -r q <"$R/code"
e=;[ -e "$R/fine" ]||e=lost
{ read -r p <"$R/pump"&&kill -0 $p;} 2>/dev/null||e=\${e}dead
{ read -r p <"$R/job"&&kill -0 $p;} 2>/dev/null||e=\${e}gone
s "$y:$a:$b:$q:\${e:-fine}";;
[gG])a=0;f "$T/g"&&s "at:$b:$z";;
k)n=0;read -r R <"$T/run";m=0
until [ -z "$R" ]||[ -s "$T/$R/job" ]||[ -e "$T/$R/code" ]||[ $m -ge 50 ];do m=$((m+1));sleep 0.1 2>/dev/null||{ sleep 1;m=$((m+9));};done
read -r p <"$T/$R/job"
for i in /proc/[0-9]*;do
{ read -r l <$i/stat;} 2>/dev/null||continue
set -- \${l##*) }
if [ "$3" = "$p" ]||[ "$4" = "$p" ];then n=$((n+1));kill -$a \${i#/proc/} 2>/dev/null;fi
done
s "sent:$n";;
esac
done
`;

/** Drops the rest of the job's output. */
export const dropOutput = 'read -r R <"$T/run";: >"$T/$R/over"';
