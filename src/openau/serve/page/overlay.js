// Contours of faces on a canvas that lies on a picture or a video.

const CLEAR = "rgb(255 255 255 / .75)";
const HALO = "rgb(15 20 25 / .45)";

// faces: [{ id, box: [x, y, w, h], landmarks: [x, y, x, y …] }] in pixels of a picture of this width and height
export function drawFaces(canvas, width, height, faces, contours, { chosen = null, lines = true, flipped = false } = {}) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const brush = canvas.getContext("2d");
  brush.clearRect(0, 0, width, height);
  for (const face of faces) {
    const size = Math.max(face.box[2], face.box[3]);
    if (lines && face.landmarks) contour(brush, face.landmarks, contours, Math.max(1, size / 170));
    if (faces.length > 1) label(brush, face, size, face.id === chosen, flipped);
  }
}

function contour(brush, landmarks, contours, stroke) {
  const path = new Path2D();
  for (const [indices, closed] of contours) {
    indices.forEach((index, i) => path[i ? "lineTo" : "moveTo"](landmarks[2 * index], landmarks[2 * index + 1]));
    if (closed) path.closePath();
  }
  brush.lineJoin = "round";
  brush.strokeStyle = HALO;
  brush.lineWidth = stroke * 2.4;
  brush.stroke(path);
  brush.strokeStyle = CLEAR;
  brush.lineWidth = stroke;
  brush.stroke(path);
}

// One face of an image, large; the landmarks are in pixels of a picture of this width
export function drawCloseup(canvas, image, face, width, contours) {
  const [x, y, w, h] = face.box;
  const side = 1.5 * Math.max(w, h);
  const left = x + w / 2 - side / 2;
  const top = y + h / 2 - side / 2 - 0.06 * side;
  const scale = image.naturalWidth / width;
  const brush = canvas.getContext("2d");
  brush.resetTransform();
  brush.fillStyle = "#888";
  brush.fillRect(0, 0, canvas.width, canvas.height);
  brush.drawImage(image, left * scale, top * scale, side * scale, side * scale, 0, 0, canvas.width, canvas.height);
  const zoom = canvas.width / side;
  brush.scale(zoom, zoom);
  brush.translate(-left, -top);
  contour(brush, face.landmarks, contours, 1.6 / zoom);
}

function label(brush, face, size, chosen, flipped) {
  const font = Math.max(12, size / 7);
  brush.save();
  brush.translate(face.box[0] + face.box[2] / 2, face.box[1] - font * 0.9);
  if (flipped) brush.scale(-1, 1);
  brush.font = `600 ${font}px system-ui, sans-serif`;
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  const text = `${face.id + 1}`;
  const half = brush.measureText(text).width / 2 + font * 0.45;
  brush.fillStyle = chosen ? "#1f6f6b" : "rgb(20 24 32 / .75)";
  brush.beginPath();
  brush.roundRect(-half, -font * 0.7, 2 * half, font * 1.4, font * 0.5);
  brush.fill();
  brush.fillStyle = "#fff";
  brush.fillText(text, 0, 0);
  brush.restore();
}
