// Shares of density blocks inside polygons: the numbers of crowdcount.zones, so that they follow a zone while it is drawn.

/** Return the signed area of a polygon [[x, y], ...]. */
function signedArea(polygon) {
  let sum = 0;
  for (let i = 0; i < polygon.length; i++) {
    const [x1, y1] = polygon[i], [x2, y2] = polygon[(i + 1) % polygon.length];
    sum += x1 * y2 - x2 * y1;
  }
  return sum / 2;
}

/** Return the part of a polygon where sign * (coordinate - limit) <= 0 along an axis (Sutherland and Hodgman, 1974). */
function cut(polygon, axis, limit, sign) {
  const kept = [];
  for (let i = 0; i < polygon.length; i++) {
    const a = polygon[i], b = polygon[(i + 1) % polygon.length];
    const da = sign * (a[axis] - limit), db = sign * (b[axis] - limit);
    if (da <= 0) kept.push(a);
    if ((da < 0 && db > 0) || (da > 0 && db < 0)) {
      const t = da / (da - db);
      const point = [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];
      point[axis] = limit;
      kept.push(point);
    }
  }
  return kept;
}

/** Return the area that a polygon has in a rectangle; edges that run twice along its side cancel out. */
function areaWithin(polygon, left, top, right, bottom) {
  let part = cut(cut(polygon, 0, left, -1), 0, right, 1);
  part = cut(cut(part, 1, top, -1), 1, bottom, 1);
  return Math.abs(signedArea(part));
}

/** Return the number of people in a polygon: every block gives the share of its area that lies inside. */
export function zoneCount(density, width, height, polygon) {
  const { block_width: w, block_height: h, values } = density;
  const xs = polygon.map(([x]) => x), ys = polygon.map(([, y]) => y);
  const first = (low, side) => Math.max(0, Math.floor(low / side));
  let sum = 0;
  for (let row = first(Math.min(...ys), h); row < values.length && row * h < Math.max(...ys); row++) {
    const top = row * h, bottom = Math.min(top + h, height);
    const strip = cut(cut(polygon, 1, top, -1), 1, bottom, 1);
    for (let column = first(Math.min(...xs), w); column < values[row].length && column * w < Math.max(...xs); column++) {
      const left = column * w, right = Math.min(left + w, width);
      if (values[row][column] === 0 || right <= left || bottom <= top) continue;
      const share = areaWithin(strip, left, top, right, bottom) / ((right - left) * (bottom - top));
      sum += values[row][column] * share;
    }
  }
  return sum;
}

/** Return the people per square metre of the measured ground in a polygon; null where there is none. */
export function zoneDensity(density, width, height, polygon) {
  if (!density.areas) return null;
  const kept = (values) => values.map((row, y) => row.map((value, x) => (density.areas[y][x] === null ? 0 : value)));
  const area = zoneCount({ ...density, values: kept(density.areas) }, width, height, polygon);
  return area > 0 ? zoneCount({ ...density, values: kept(density.values) }, width, height, polygon) / area : null;
}

/** Return the share of the image that a polygon covers. */
export function coveredShare(width, height, polygon) {
  return areaWithin(polygon, 0, 0, width, height) / (width * height);
}

function side(a, b, c) {
  return Math.sign((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]));
}

/** Return whether the outline of a polygon crosses or touches itself, or encloses nothing. */
export function isCrossed(polygon) {
  const count = polygon.length;
  if (count < 3 || signedArea(polygon) === 0) return true;
  for (let i = 0; i < count; i++) {
    for (let j = i + 2; j < count; j++) {
      if (i === 0 && j === count - 1) continue;
      const [a, b, c, d] = [polygon[i], polygon[i + 1], polygon[j], polygon[(j + 1) % count]];
      if (side(a, b, c) !== side(a, b, d) && side(c, d, a) !== side(c, d, b)) return true;
    }
  }
  return false;
}
