/** What runs on a MicroPython board around a job's script: a small program that takes the script piece by piece, checked, and runs it. */

/** Both sides' checksum: Adler-32 (RFC 1950) as its two sums, which fit the small integers of every board. */
export function adler(bytes: Uint8Array): string {
  let a = 1;
  let b = 0;
  for (const byte of bytes) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return `${a} ${b}`;
}

/** The receiver: `_lb` holds the bytes, `_lw` writes some of them at a place and prints their checksum. Sent unchecked: its answers tell. */
export const receiver = `def _lw(o,s):
 a=1;b=0
 for c in s:
  _lb[o]=c;o+=1;a=(a+c)%65521;b=(b+a)%65521
 print(a,b)`;

/**
 * The runner, sent as a checked text. `_lr(T,T)` runs what is in `_lb` once, between the lines `T<` and `T:CODE:65521-CODE`, and keeps T and
 * CODE in `_ls`, to be asked for again. The script has names of its own. An exception that nothing catches is printed, and is code 1.
 */
export const runner = `_ls=['',-1]
def _lr(t,u):
 global _lb
 if t!=u or _ls[0]==t:return
 import gc,sys
 s=bytes(_lb);_lb=None;gc.collect()
 _ls[:]=[t,-1];c=0
 print(t+'<')
 try:exec(s,{'__name__':'__main__'})
 except SystemExit as e:
  c=e.args[0] if e.args else 0
  if c is None:c=0
  if not isinstance(c,int):
   print(c);c=1
  if c<0 or c>255:c=1
 except BaseException as e:
  sys.print_exception(e);c=1
 _ls[1]=int(c)
 print('%s:%d:%d'%(t,c,65521-c))
`;

/** Bytes as a literal in printable ASCII. */
export function literal(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    const plain = byte >= 0x20 && byte < 0x7f && byte !== 0x27 && byte !== 0x5c;
    text += plain ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return `b'${text}'`;
}
