"""Pictures of what came out of the exams."""

from carrossel.lab.exams.figures.figures import draw_exam_curves, draw_exam_table

__all__ = ["draw_exam_curves", "draw_exam_table"]
