/**
 * Who makes room where streams that have proved nothing yet take up all there is.
 *
 * Whoever knows the topic can open streams, each with another key, and say nothing on them until their time is up. If
 * newcomers were refused meanwhile, one such stranger would keep a node's members out for as long as it likes. So the
 * newcomer comes in, and one of the address that has most of them goes: a stranger takes its own places away. Which
 * one is drawn: if it were the oldest, who dials fast enough would leave nobody the time to prove anything.
 *
 * @module
 */

/**
 * @param unproven Streams that others have opened.
 * @param newcomer The address of the one for which there is no room.
 * @param random Uniform in 0..1, 1 excluded.
 * @returns undefined when there are none
 */
export function whoMakesRoom<Stream extends { readonly address: string }>(
  unproven: readonly Stream[],
  newcomer: string,
  random: () => number,
): Stream | undefined {
  const counts = new Map([[newcomer, 1]]);
  for (const { address } of unproven) counts.set(address, (counts.get(address) ?? 0) + 1);
  let most = 0;
  for (const { address } of unproven) most = Math.max(most, counts.get(address) as number);
  const candidates = unproven.filter(({ address }) => counts.get(address) === most);
  return candidates[Math.floor(random() * candidates.length)];
}
