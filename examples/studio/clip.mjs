// A clip as the encoder hands it over: dark, and flickering like a phone at night. Written by formula.

/** YUV4MPEG2, so many frames. */
export function clip({ width = 160, height = 120, frames = 12 } = {}) {
  const parts = [Buffer.from(`YUV4MPEG2 W${width} H${height} F12:1 Ip C420jpeg\n`)];
  let seed = 7;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
  for (let frame = 0; frame < frames; frame += 1) {
    const luma = Buffer.alloc(width * height);
    for (let at = 0; at < luma.length; at += 1) {
      const [x, y] = [at % width, Math.floor(at / width)];
      const isBall = (x - 20 - frame * 8) ** 2 + (y - 60) ** 2 < 300;
      luma[at] = random() < 0.004 ? 240 : 30 + Math.floor(x / 8) + (isBall ? 40 : 0);
    }
    const colours = Buffer.concat([Buffer.alloc(luma.length / 4, 120), Buffer.alloc(luma.length / 4, 140)]);
    parts.push(Buffer.from('FRAME\n'), luma, colours);
  }
  return Buffer.concat(parts);
}
